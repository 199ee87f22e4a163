// Who may call what, over every method there is.
#include <google/protobuf/descriptor.h>
#include <grpcpp/generic/generic_stub.h>

#include "gtest/gtest.h"
#include "tests/server/server_fixture.h"

namespace pactory {
namespace {

class AccessTest : public ServerTest {
 protected:
  static std::vector<const google::protobuf::MethodDescriptor*> Methods() {
    std::vector<const google::protobuf::MethodDescriptor*> methods;
    for (const char* name :
         {"ModelService", "DatasetService", "JobService", "BlobService", "StatusService", "WorkerService"}) {
      const auto* service =
          google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(std::string("pactory.v1.") + name);
      EXPECT_NE(service, nullptr) << name;
      for (int i = 0; i < service->method_count(); ++i) methods.push_back(service->method(i));
    }
    return methods;
  }

  // Calls any method, streaming or not, with one empty message.
  grpc::Status CallEmpty(const google::protobuf::MethodDescriptor& method, const std::string& authorization) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    if (!authorization.empty()) context.AddMetadata("authorization", authorization);
    grpc::CompletionQueue queue;
    grpc::GenericStub stub(channel_);
    const auto call = stub.PrepareCall(&context, "/" + method.service()->full_name() + "/" + method.name(), &queue);
    const auto wait = [&queue] {
      void* tag = nullptr;
      bool ok = false;
      queue.Next(&tag, &ok);
      return ok;
    };
    call->StartCall(nullptr);
    wait();
    const grpc::Slice nothing("");
    call->WriteLast(grpc::ByteBuffer(&nothing, 1), grpc::WriteOptions(), nullptr);
    wait();
    grpc::Status status;
    grpc::ByteBuffer answer;
    do {
      call->Read(&answer, nullptr);
    } while (wait());
    call->Finish(&status, nullptr);
    wait();
    return status;
  }
};

TEST_F(AccessTest, EveryMethodWithoutATokenIsUnauthenticated) {
  ASSERT_GE(Methods().size(), 25);
  for (const auto* method : Methods()) {
    const grpc::Status status = CallEmpty(*method, "");
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED)
        << method->full_name() << ": " << status.error_message();
    EXPECT_EQ(ReasonOf(status), "UNAUTHENTICATED") << method->full_name();
  }
}

TEST_F(AccessTest, EveryMethodWithAnUnknownTokenIsUnauthenticated) {
  for (const auto* method : Methods()) {
    EXPECT_EQ(CallEmpty(*method, "Bearer pactory_" + std::string(64, 'a')).error_code(),
              grpc::StatusCode::UNAUTHENTICATED)
        << method->full_name();
  }
}

TEST_F(AccessTest, ATokenOfTheOtherKindIsRefused) {
  for (const auto* method : Methods()) {
    const std::string service = method->service()->name();
    if (service == "BlobService") continue;
    const bool for_workers = service == "WorkerService";
    const grpc::Status status = CallEmpty(*method, "Bearer " + (for_workers ? user_ : worker_token_));
    EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED)
        << method->full_name() << ": " << status.error_message();
    EXPECT_EQ(ReasonOf(status), "WRONG_TOKEN_KIND") << method->full_name();
  }
}

// With the right token an empty request must end in an answer or a named error, never in a crash.
TEST_F(AccessTest, AnEmptyRequestIsAnsweredByEveryMethod) {
  for (const auto* method : Methods()) {
    const bool for_workers = method->service()->name() == "WorkerService";
    const grpc::Status status = CallEmpty(*method, "Bearer " + (for_workers ? worker_token_ : user_));
    if (status.ok()) continue;
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT)
        << method->full_name() << ": " << status.error_message();
    EXPECT_NE(FieldOf(status), "") << method->full_name() << ": " << status.error_message();
  }
}

TEST_F(AccessTest, WorkersTouchBlobsUnderALeaseOnly) {
  v1::ReadRequest request;
  request.set_blob("blobs/" + std::string(64, 'a'));
  const auto context = Context(worker_token_);
  const auto stream = blobs_->Read(context.get(), request);
  v1::ReadResponse response;
  while (stream->Read(&response)) {
  }
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(FieldOf(status), "lease");
}

TEST_F(AccessTest, AMalformedHeaderIsUnauthenticated) {
  const auto* method = Methods().front();
  for (const std::string& header : {user_, "Basic " + user_, std::string("Bearer "), "Bearer " + user_ + "x"}) {
    EXPECT_EQ(CallEmpty(*method, header).error_code(), grpc::StatusCode::UNAUTHENTICATED) << header;
  }
}

TEST_F(AccessTest, TheRequestIdComesBackInTheTrailerAndTheError) {
  auto context = Context(user_);
  context->AddMetadata("x-request-id", "my-request-7");
  v1::GetJobRequest request;
  v1::Job job;
  EXPECT_FALSE(jobs_->GetJob(context.get(), request, &job).ok());
  const auto trailer = context->GetServerTrailingMetadata().find("x-request-id");
  ASSERT_NE(trailer, context->GetServerTrailingMetadata().end());
  EXPECT_EQ(std::string(trailer->second.data(), trailer->second.size()), "my-request-7");
}

}  // namespace
}  // namespace pactory

#include "tests/server/server_fixture.h"

#include "base/ids.h"
#include "base/sha256.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "storage/token_store.h"
#include "tests/server/sample_files.h"

namespace pactory {
namespace {

template <typename Detail>
bool FindDetail(const grpc::Status& status, Detail& detail) {
  google::rpc::Status details;
  if (!details.ParseFromString(status.error_details())) return false;
  for (const auto& any : details.details()) {
    if (any.UnpackTo(&detail)) return true;
  }
  return false;
}

}  // namespace

std::string ReasonOf(const grpc::Status& status) {
  google::rpc::ErrorInfo info;
  return FindDetail(status, info) && info.domain() == "pactory" ? info.reason() : "";
}

std::string FieldOf(const grpc::Status& status) {
  google::rpc::BadRequest bad_request;
  return FindDetail(status, bad_request) ? bad_request.field_violations(0).field() : "";
}

bool HasRetryInfo(const grpc::Status& status) {
  google::rpc::RetryInfo retry;
  return FindDetail(status, retry);
}

void ServerTest::SetUp() {
  DatabaseTest::SetUp();
  NewTenant("strangers");
  TokenStore tokens(database_.get());
  user_ = *tokens.Create({.kind = TokenKind::kUser, .tenant = "default", .name = "user"});
  stranger_ = *tokens.Create({.kind = TokenKind::kUser, .tenant = "strangers", .name = "stranger"});
  worker_token_ = *tokens.Create({.kind = TokenKind::kWorker, .tenant = "", .name = "worker"});
  options_.database_url = url_;
  options_.listen = "127.0.0.1:0";
  options_.http_listen = "127.0.0.1:0";
  options_.shutdown_grace = absl::Seconds(2);
  StartServer();
}

void ServerTest::StartServer() {
  server_.reset();
  auto server = Server::Start(options_);
  ASSERT_TRUE(server.ok()) << server.status();
  server_ = *std::move(server);
  options_.listen = server_->grpc_address();
  channel_ = grpc::CreateChannel(server_->grpc_address(), grpc::InsecureChannelCredentials());
  models_ = v1::ModelService::NewStub(channel_);
  datasets_ = v1::DatasetService::NewStub(channel_);
  jobs_ = v1::JobService::NewStub(channel_);
  blobs_ = v1::BlobService::NewStub(channel_);
  status_ = v1::StatusService::NewStub(channel_);
  workers_ = v1::WorkerService::NewStub(channel_);
}

std::unique_ptr<grpc::ClientContext> ServerTest::Context(const std::string& token) const {
  auto context = std::make_unique<grpc::ClientContext>();
  context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
  if (!token.empty()) context->AddMetadata("authorization", "Bearer " + token);
  return context;
}

grpc::Status ServerTest::Upload(const std::string& token, const std::string& content, v1::WriteResponse& response,
                                size_t piece) {
  const auto context = Context(token);
  const auto stream = blobs_->Write(context.get(), &response);
  v1::WriteRequest request;
  request.set_upload_id(NewUuid());
  request.set_sha256(Sha256Hex(content));
  request.set_size_bytes(content.size());
  size_t offset = 0;
  do {
    request.set_write_offset(offset);
    request.set_data(content.substr(offset, piece));
    offset += request.data().size();
    request.set_finish_write(offset == content.size());
    if (!stream->Write(request)) break;
  } while (offset < content.size());
  stream->WritesDone();
  return stream->Finish();
}

std::string ServerTest::NewModel(const std::string& token, const onnx::ModelProto& file) {
  v1::WriteResponse blob;
  EXPECT_TRUE(Upload(token, file.SerializeAsString(), blob).ok());
  v1::CreateModelRequest request;
  request.mutable_model()->set_blob(blob.blob());
  v1::Model model;
  const grpc::Status status = Call(&v1::ModelService::Stub::CreateModel, *models_, token, request, model);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return model.name();
}

std::string ServerTest::NewDataset(const std::string& token, const std::string& file, v1::Dataset::Format format) {
  v1::WriteResponse blob;
  EXPECT_TRUE(Upload(token, file, blob).ok());
  v1::CreateDatasetRequest request;
  request.mutable_dataset()->set_blob(blob.blob());
  request.mutable_dataset()->set_format(format);
  v1::Dataset dataset;
  const grpc::Status status = Call(&v1::DatasetService::Stub::CreateDataset, *datasets_, token, request, dataset);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return dataset.name();
}

v1::CreateJobRequest ServerTest::JobRequest(const std::string& token) {
  v1::CreateJobRequest request;
  v1::JobSpec& spec = *request.mutable_job()->mutable_spec();
  spec.set_model(NewModel(token));
  spec.set_train_dataset(NewDataset(token));
  spec.set_eval_dataset(spec.train_dataset());
  return request;
}

std::string ServerTest::NewJob(const std::string& token) {
  v1::Job job;
  const grpc::Status status = Call(&v1::JobService::Stub::CreateJob, *jobs_, token, JobRequest(token), job);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return job.name();
}

std::string ServerTest::NewWorker(const std::vector<std::string>& ops) {
  v1::RegisterWorkerRequest request;
  request.set_worker_id(NewUuid());
  request.mutable_worker()->set_display_name("test worker");
  for (const std::string& op : ops) request.mutable_worker()->mutable_capabilities()->add_ops(op);
  v1::RegisterWorkerResponse response;
  const grpc::Status status =
      Call(&v1::WorkerService::Stub::RegisterWorker, *workers_, worker_token_, request, response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response.name();
}

v1::LeaseJobResponse ServerTest::Lease(const std::string& worker, int wait_seconds) {
  v1::LeaseJobRequest request;
  request.set_worker(worker);
  request.mutable_wait()->set_seconds(wait_seconds);
  v1::LeaseJobResponse response;
  const grpc::Status status = Call(&v1::WorkerService::Stub::LeaseJob, *workers_, worker_token_, request, response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response;
}

}  // namespace pactory

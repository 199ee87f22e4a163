#include "client/rpc_status.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "client/server_address.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tests/client/temporary_folder.h"

namespace pactory {
namespace {

TEST(IsTransientTest, AnOverloadPassesAndATenantsLimitDoesNot) {
  EXPECT_TRUE(IsTransient(WithReason(absl::ResourceExhaustedError("m"), "OVERLOADED")));
  EXPECT_FALSE(IsTransient(WithReason(absl::ResourceExhaustedError("m"), "QUOTA_EXCEEDED")));
}

grpc::Status WithDetails(grpc::StatusCode code, const std::string& message, const std::string& reason,
                         const std::string& field, const std::string& description) {
  google::rpc::Status status;
  google::rpc::ErrorInfo info;
  info.set_reason(reason);
  info.set_domain("pactory");
  status.add_details()->PackFrom(info);
  if (!field.empty()) {
    google::rpc::BadRequest bad_request;
    auto* violation = bad_request.add_field_violations();
    violation->set_field(field);
    violation->set_description(description);
    status.add_details()->PackFrom(bad_request);
  }
  return grpc::Status(code, message, status.SerializeAsString());
}

TEST(RpcStatusTest, FieldAndReasonAreFound) {
  const absl::Status status = FromGrpcStatus(WithDetails(grpc::StatusCode::INVALID_ARGUMENT, "whatever",
                                                         "INVALID_FIELD", "weights.bits", "must be in [2, 8]: 9"));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FieldOf(status), "weights.bits");
  EXPECT_EQ(ReasonOf(status), "INVALID_FIELD");
  EXPECT_EQ(status.message(), "weights.bits: must be in [2, 8]: 9");
}

TEST(RpcStatusTest, FieldIsNotNamedTwice) {
  const absl::Status status = FromGrpcStatus(WithDetails(
      grpc::StatusCode::INVALID_ARGUMENT, "m", "INVALID_FIELD", "weights.bits", "weights.bits: must be in [2, 8]: 9"));
  EXPECT_EQ(status.message(), "weights.bits: must be in [2, 8]: 9");
}

TEST(RpcStatusTest, LostLeaseIsNotTransientButOtherAbortsAre) {
  const absl::Status lost =
      FromGrpcStatus(WithDetails(grpc::StatusCode::ABORTED, "lease lost", "LEASE_LOST", "", ""));
  EXPECT_TRUE(IsLeaseLost(lost));
  EXPECT_FALSE(IsTransient(lost));
  EXPECT_TRUE(IsTransient(FromGrpcStatus(grpc::Status(grpc::StatusCode::ABORTED, "serialization"))));
  EXPECT_TRUE(IsTransient(FromGrpcStatus(grpc::Status(grpc::StatusCode::UNAVAILABLE, "away"))));
  EXPECT_FALSE(IsTransient(FromGrpcStatus(grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "no"))));
}

TEST(RpcStatusTest, GarbageInTheDetailsIsHarmless) {
  const absl::Status status = FromGrpcStatus(grpc::Status(grpc::StatusCode::INTERNAL, "m", "\xff\xff\xff"));
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(status.message(), "m");
}

TEST(ServerAddressTest, UnusableAddressesAreNamed) {
  for (const char* target : {"", "host", "host:", ":7447", "host:0", "host:70000", "host:abc"}) {
    ServerAddress address;
    address.target = target;
    EXPECT_EQ(OpenChannel(address).status().code(), absl::StatusCode::kInvalidArgument) << target;
  }
  ServerAddress address;
  address.target = "127.0.0.1:7447";
  EXPECT_TRUE(OpenChannel(address).ok());
  address.tls_ca = "/nowhere/ca.pem";
  EXPECT_EQ(OpenChannel(address).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(ServerAddressTest, TokenFileIsOneWord) {
  const TemporaryFolder folder;
  EXPECT_EQ(*ReadTokenFile(folder.Write("good", "pactory_abc\n")), "pactory_abc");
  EXPECT_FALSE(ReadTokenFile(folder.Write("empty", " \n")).ok());
  EXPECT_FALSE(ReadTokenFile(folder.Write("two", "a b")).ok());
  EXPECT_FALSE(ReadTokenFile(folder / "missing").ok());
}

}  // namespace
}  // namespace pactory

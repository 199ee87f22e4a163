#include "server/grpc_status.h"

#include "base/error.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "gtest/gtest.h"
#include "tests/server/server_fixture.h"

namespace pactory {
namespace {

TEST(GrpcStatusTest, FieldAndReasonTravelAsDetails) {
  const grpc::Status status = ToGrpcStatus(InvalidField("job.spec.model", "must be set"), "id-1");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "job.spec.model: must be set");
  EXPECT_EQ(ReasonOf(status), "INVALID_FIELD");
  EXPECT_EQ(FieldOf(status), "job.spec.model");
  EXPECT_FALSE(HasRetryInfo(status));
}

TEST(GrpcStatusTest, EveryErrorHasAReason) {
  for (int code = 1; code <= 16; ++code) {
    const grpc::Status status = ToGrpcStatus(absl::Status(static_cast<absl::StatusCode>(code), "m"), "id");
    EXPECT_EQ(static_cast<int>(status.error_code()), code);
    EXPECT_NE(ReasonOf(status), "") << code;
  }
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus(), "id").ok());
}

TEST(GrpcStatusTest, WhatPassesSaysWhenToTryAgain) {
  EXPECT_TRUE(HasRetryInfo(ToGrpcStatus(absl::UnavailableError("m"), "id")));
  EXPECT_TRUE(HasRetryInfo(ToGrpcStatus(absl::ResourceExhaustedError("m"), "id")));
  EXPECT_FALSE(HasRetryInfo(ToGrpcStatus(absl::AbortedError("m"), "id")));
  EXPECT_FALSE(HasRetryInfo(ToGrpcStatus(WithReason(absl::ResourceExhaustedError("m"), "QUOTA_EXCEEDED"), "id")));
}

// Peers take 8 KiB of headers; a byte beyond ASCII travels as three.
TEST(GrpcStatusTest, LongMessagesAreCutAtACharacter) {
  std::string text;
  for (int i = 0; i < 3000; ++i) text += "\xe9\x87\x8f";
  const grpc::Status status = ToGrpcStatus(InvalidField("f", text), "id");
  EXPECT_LE(3 * status.error_message().size() + status.error_details().size() * 4 / 3, 8000);
  const size_t last = status.error_message().size() - 4;
  EXPECT_EQ(status.error_message().substr(last - 2, 3), "\xe9\x87\x8f");
}

}  // namespace
}  // namespace pactory

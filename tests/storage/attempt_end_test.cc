#include "storage/attempt_end.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pactory {
namespace {

using testing::HasSubstr;

constexpr absl::Duration kWait = absl::Seconds(10);

v1::JobError Error(const std::string& reason) {
  v1::JobError error;
  error.set_reason(reason);
  error.set_message("why");
  return error;
}

EndingJob Job() {
  EndingJob job = {.max_attempts = 3};
  job.spec.mutable_config()->mutable_training()->set_batch_size(32);
  job.spec.mutable_config()->mutable_training()->set_halve_batch_on_out_of_memory(true);
  job.spec.mutable_stall()->set_seconds(90);
  return job;
}

TEST(AttemptEndTest, BadInputIsNeverTriedAgain) {
  for (const char* reason :
       {"BAD_MODEL", "BAD_DATA", "BAD_CONFIG", "UNSUPPORTED_OP", "GATE_FAILED", "DEADLINE_EXCEEDED"}) {
    const JobOutcome outcome = OutcomeOf(AttemptEnd::kFailed, Error(reason), Job(), kWait);
    EXPECT_EQ(outcome.state, v1::Job::FAILED) << reason;
    EXPECT_EQ(outcome.error.reason(), reason);
    EXPECT_EQ(outcome.error.message(), "why");
    EXPECT_EQ(outcome.failed, 1);
  }
}

TEST(AttemptEndTest, FailuresOfTheWorkerAreTriedAgainWithGrowingPauses) {
  EndingJob job = Job();
  job.max_attempts = 20;
  const absl::Duration pauses[] = {kWait, 2 * kWait, 4 * kWait, 8 * kWait};
  for (int failures = 0; failures < 4; ++failures) {
    job.failed_attempts = failures;
    const JobOutcome outcome = OutcomeOf(AttemptEnd::kFailed, Error("TRAINER_DIED"), job, kWait);
    EXPECT_EQ(outcome.state, v1::Job::PENDING);
    EXPECT_EQ(outcome.wait, pauses[failures]);
    EXPECT_EQ(outcome.failed, 1);
    EXPECT_EQ(outcome.lost, 0);
  }
  job.failed_attempts = 18;
  EXPECT_EQ(OutcomeOf(AttemptEnd::kFailed, Error("INTERNAL"), job, kWait).wait, absl::Minutes(10));
  // Half the batch would save memory, not room on the disk.
  const JobOutcome full = OutcomeOf(AttemptEnd::kFailed, Error("DISK_FULL"), job, kWait);
  EXPECT_EQ(full.state, v1::Job::PENDING);
  EXPECT_FALSE(full.halved.has_value());
  job.failed_attempts = 19;
  const JobOutcome last = OutcomeOf(AttemptEnd::kFailed, Error("INTERNAL"), job, kWait);
  EXPECT_EQ(last.state, v1::Job::FAILED);
  EXPECT_EQ(last.error.reason(), "INTERNAL");
}

TEST(AttemptEndTest, OutOfMemoryIsTriedOnceMoreWithHalfTheBatch) {
  EndingJob job = Job();
  const JobOutcome first = OutcomeOf(AttemptEnd::kFailed, Error("OUT_OF_MEMORY"), job, kWait);
  EXPECT_EQ(first.state, v1::Job::PENDING);
  ASSERT_TRUE(first.halved.has_value());
  EXPECT_EQ(first.halved->config().training().batch_size(), 16);

  job.spec = *first.halved;
  job.batch_halved = true;
  job.failed_attempts = 1;
  const JobOutcome second = OutcomeOf(AttemptEnd::kFailed, Error("OUT_OF_MEMORY"), job, kWait);
  EXPECT_EQ(second.state, v1::Job::FAILED);
  EXPECT_EQ(second.error.reason(), "OUT_OF_MEMORY");
  EXPECT_FALSE(second.halved.has_value());
}

TEST(AttemptEndTest, TheConfigMayForbidAnotherBatch) {
  EndingJob job = Job();
  job.spec.mutable_config()->mutable_training()->set_halve_batch_on_out_of_memory(false);
  EXPECT_EQ(OutcomeOf(AttemptEnd::kFailed, Error("OUT_OF_MEMORY"), job, kWait).state, v1::Job::FAILED);
  job = Job();
  job.spec.mutable_config()->mutable_training()->set_batch_size(1);
  EXPECT_EQ(OutcomeOf(AttemptEnd::kFailed, Error("OUT_OF_MEMORY"), job, kWait).state, v1::Job::FAILED);
}

TEST(AttemptEndTest, LossesAndFailuresAreCountedApart) {
  EndingJob job = Job();
  job.failed_attempts = 2;
  EXPECT_EQ(OutcomeOf(AttemptEnd::kWorkerLost, {}, job, kWait).state, v1::Job::PENDING);
  job = Job();
  job.lost_attempts = 2;
  EXPECT_EQ(OutcomeOf(AttemptEnd::kFailed, Error("INTERNAL"), job, kWait).state, v1::Job::PENDING);
  const JobOutcome third = OutcomeOf(AttemptEnd::kWorkerLost, {}, job, kWait);
  EXPECT_EQ(third.state, v1::Job::FAILED);
  EXPECT_EQ(third.error.reason(), "POISON");
  EXPECT_EQ(third.lost, 1);
}

TEST(AttemptEndTest, ALostWorkersJobIsQueuedWithoutAPause) {
  const JobOutcome outcome = OutcomeOf(AttemptEnd::kWorkerLost, {}, Job(), kWait);
  EXPECT_EQ(outcome.wait, absl::ZeroDuration());
  EXPECT_EQ(outcome.event, "WORKER_LOST");
}

TEST(AttemptEndTest, AStalledAttemptIsAFailure) {
  const JobOutcome outcome = OutcomeOf(AttemptEnd::kStalled, {}, Job(), kWait);
  EXPECT_EQ(outcome.state, v1::Job::PENDING);
  EXPECT_EQ(outcome.failed, 1);
  EXPECT_THAT(outcome.detail, HasSubstr("STALLED"));
  EXPECT_THAT(outcome.detail, HasSubstr("90 s"));
}

TEST(AttemptEndTest, ACancelledJobEndsWhateverTheWorkerBrings) {
  EndingJob job = Job();
  job.cancelling = true;
  for (const AttemptEnd end : {AttemptEnd::kSucceeded, AttemptEnd::kFailed, AttemptEnd::kCancelled,
                               AttemptEnd::kReleased, AttemptEnd::kWorkerLost, AttemptEnd::kStalled,
                               AttemptEnd::kOverDeadline}) {
    EXPECT_EQ(OutcomeOf(end, Error("INTERNAL"), job, kWait).state, v1::Job::CANCELLED);
  }
}

}  // namespace
}  // namespace pactory

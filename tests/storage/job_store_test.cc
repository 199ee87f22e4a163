#include "storage/job_store.h"

#include <set>
#include <thread>

#include "base/error.h"
#include "gtest/gtest.h"
#include "tests/storage/queue_fixture.h"

namespace pactory {
namespace {

using JobStoreTest = QueueTest;

TEST_F(JobStoreTest, CreatedJobComesBackPendingWithItsSpecAndPlace) {
  const std::string first = NewJob();
  const std::string second = NewJob();
  const v1::Job job = Get(second);
  EXPECT_EQ(job.state(), v1::Job::PENDING);
  EXPECT_EQ(job.spec().SerializeAsString(), spec_.SerializeAsString());
  EXPECT_EQ(job.queue_position(), 1);
  EXPECT_EQ(Get(first).queue_position(), 0);
  EXPECT_GT(job.create_time().seconds(), 1600000000);
}

TEST_F(JobStoreTest, EqualCreatesOfEightThreadsMakeOneJob) {
  const RequestKey key = {.id = NewUuid(), .sha256 = "content"};
  std::vector<std::thread> clients;
  std::vector<std::string> names(8);
  for (std::string& name : names) {
    clients.emplace_back([&] {
      v1::Job job;
      *job.mutable_spec() = spec_;
      const auto made = jobs_->Create(tenant_, job, key);
      if (made.ok()) name = made->name();
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), 1);
  EXPECT_NE(names[0], "");
  EXPECT_EQ(Sql("SELECT count(*) FROM job"), "1");
  EXPECT_EQ(Sql("SELECT count(*) FROM job_ready"), "1");
  EXPECT_EQ(Sql("SELECT count(*) FROM job_event"), "1");
}

TEST_F(JobStoreTest, ARequestIdWithOtherContentIsRefused) {
  const RequestKey key = {.id = NewUuid(), .sha256 = "content"};
  v1::Job job;
  *job.mutable_spec() = spec_;
  ASSERT_TRUE(jobs_->Create(tenant_, job, key).ok());
  const auto other = jobs_->Create(tenant_, job, {.id = key.id, .sha256 = "other"});
  EXPECT_TRUE(absl::IsInvalidArgument(other.status()));
  EXPECT_EQ(FieldOf(other.status()), "request_id");
}

TEST_F(JobStoreTest, AStopOfTrainingMayBeRepeatedWhenTheDatabaseWasLost) {
  const std::string id = NewJob();
  Sql("CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS "
      "'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END'");
  Sql("CREATE CONSTRAINT TRIGGER lose AFTER UPDATE ON job DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION lose()");
  EXPECT_EQ(ReasonOf(jobs_->StopTraining(tenant_, id).status()), "DATABASE_UNAVAILABLE");
  Sql("DROP TRIGGER lose ON job");
  Sql("DROP FUNCTION lose()");
  EXPECT_TRUE(jobs_->StopTraining(tenant_, id).ok());
}

TEST_F(JobStoreTest, ACreateWithARequestIdMayBeRepeatedWhenTheDatabaseWasLost) {
  v1::Job job;
  *job.mutable_spec() = spec_;
  const RequestKey key = {.id = NewUuid(), .sha256 = "content"};
  Sql("CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS "
      "'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END'");
  Sql("CREATE CONSTRAINT TRIGGER lose AFTER INSERT ON job DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION lose()");
  EXPECT_EQ(ReasonOf(jobs_->Create(tenant_, job, key).status()), "DATABASE_UNAVAILABLE");
  EXPECT_TRUE(absl::IsUnknown(jobs_->Create(tenant_, job, {}).status()));
  Sql("DROP TRIGGER lose ON job");
  Sql("DROP FUNCTION lose()");
  EXPECT_TRUE(jobs_->Create(tenant_, job, key).ok());
  EXPECT_TRUE(jobs_->Create(tenant_, job, key).ok());
  EXPECT_EQ(Sql("SELECT count(*) FROM job"), "1");
}

TEST_F(JobStoreTest, OneRequestIdMayServeTwoTenants) {
  const RequestKey key = {.id = NewUuid(), .sha256 = "content"};
  const std::string other = NewTenant("other");
  v1::Job mine;
  *mine.mutable_spec() = spec_;
  v1::Job theirs;
  *theirs.mutable_spec() = SpecOf(other);
  const auto first = jobs_->Create(tenant_, mine, key);
  const auto second = jobs_->Create(other, theirs, key);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_NE(first->name(), second->name());
}

TEST_F(JobStoreTest, AJobOfAnotherTenantIsAsMissing) {
  const std::string id = NewJob();
  const std::string other = NewTenant("other");
  const auto foreign = jobs_->Get(other, id);
  const std::string nowhere = NewUuid();
  const auto missing = jobs_->Get(other, nowhere);
  EXPECT_TRUE(absl::IsNotFound(foreign.status()));
  EXPECT_EQ(foreign.status().code(), missing.status().code());
  EXPECT_TRUE(absl::IsNotFound(jobs_->Cancel(other, id).status()));
  EXPECT_EQ(Get(id).state(), v1::Job::PENDING);
  EXPECT_EQ(jobs_->List(other, {}, {})->jobs_size(), 0);
  EXPECT_TRUE(absl::IsNotFound(metrics_->List(other, id, {}, "").status()));
  EXPECT_TRUE(absl::IsNotFound(metrics_->ListArtifacts(other, id, {}).status()));
}

TEST_F(JobStoreTest, AJobCanNotUseTheModelOfAnotherTenant) {
  v1::Job job;
  *job.mutable_spec() = spec_;
  const auto made = jobs_->Create(NewTenant("other"), job, {});
  EXPECT_TRUE(absl::IsNotFound(made.status())) << made.status();
}

TEST_F(JobStoreTest, PagesListEveryJobOnceNewestFirst) {
  std::vector<std::string> made;
  for (int i = 0; i < 7; ++i) made.push_back("jobs/" + NewJob());
  std::vector<std::string> listed;
  PageRequest page = {.size = 3, .token = ""};
  do {
    const auto response = jobs_->List(tenant_, page, {});
    ASSERT_TRUE(response.ok()) << response.status();
    for (const v1::Job& job : response->jobs()) listed.push_back(job.name());
    page.token = response->next_page_token();
  } while (!page.token.empty());
  std::reverse(made.begin(), made.end());
  EXPECT_EQ(listed, made);
}

TEST_F(JobStoreTest, ListsOnlyTheStatesAskedFor) {
  const std::string pending = NewJob(5);
  NewJob();
  Claim();
  const auto response = jobs_->List(tenant_, {}, {v1::Job::PENDING});
  ASSERT_EQ(response->jobs_size(), 1);
  EXPECT_EQ(response->jobs(0).name(), "jobs/" + pending);
  EXPECT_EQ(jobs_->List(tenant_, {}, {v1::Job::PENDING, v1::Job::RUNNING})->jobs_size(), 2);
}

TEST_F(JobStoreTest, ACancelledPendingJobEndsAtOnceAndLeavesTheQueue) {
  const std::string id = NewJob();
  EXPECT_EQ(jobs_->Cancel(tenant_, id)->state(), v1::Job::CANCELLED);
  EXPECT_FALSE(leases_->Claim(worker_)->has_value());
  EXPECT_EQ(jobs_->Cancel(tenant_, id)->state(), v1::Job::CANCELLED);
}

TEST_F(JobStoreTest, ACancelOfARunningJobWaitsForItsWorker) {
  const std::string id = NewJob();
  const LeaseRef lease = Claim();
  EXPECT_EQ(jobs_->Cancel(tenant_, id)->state(), v1::Job::CANCELLING);
  EXPECT_TRUE(leases_->Heartbeat(lease, {})->cancel_requested());
  EXPECT_EQ(jobs_->Cancel(tenant_, id)->state(), v1::Job::CANCELLING);
  ASSERT_TRUE(leases_->Finish(lease, Cancelled()).ok());
  EXPECT_EQ(Get(id).state(), v1::Job::CANCELLED);
}

TEST_F(JobStoreTest, AnEndedJobCanNotBeCancelled) {
  const std::string id = NewJob();
  ASSERT_TRUE(leases_->Finish(Claim(), Succeeded()).ok());
  const auto cancelled = jobs_->Cancel(tenant_, id);
  EXPECT_TRUE(absl::IsFailedPrecondition(cancelled.status()));
  EXPECT_EQ(ReasonOf(cancelled.status()), "JOB_ENDED");
}

TEST_F(JobStoreTest, ATrainingThatIsToEndIsToldWithEachHeartbeatAlsoOfTheNextAttempt) {
  const std::string id = NewJob();
  const LeaseRef first = Claim();
  EXPECT_FALSE(leases_->Heartbeat(first, {})->stop_training_requested());
  const auto asked = jobs_->StopTraining(tenant_, id);
  EXPECT_EQ(asked->state(), v1::Job::RUNNING);
  EXPECT_TRUE(asked->stop_training_requested());
  EXPECT_TRUE(jobs_->StopTraining(tenant_, id)->stop_training_requested());
  EXPECT_EQ(Sql("SELECT count(*) FROM job_event WHERE kind = 'STOP_TRAINING_REQUESTED'"), "1");
  EXPECT_TRUE(leases_->Heartbeat(first, {})->stop_training_requested());
  EXPECT_FALSE(leases_->Heartbeat(first, {})->cancel_requested());
  ASSERT_TRUE(leases_->Release(first).ok());
  const LeaseRef second = Claim();
  EXPECT_TRUE(leases_->Heartbeat(second, {})->stop_training_requested());
  ASSERT_TRUE(leases_->Finish(second, Succeeded()).ok());
  EXPECT_EQ(Get(id).state(), v1::Job::SUCCEEDED);
}

TEST_F(JobStoreTest, OnlyAJobThatMayStillTrainCanBeAskedToEndItsTraining) {
  const std::string pending = NewJob();
  EXPECT_EQ(jobs_->StopTraining(tenant_, pending)->state(), v1::Job::PENDING);
  EXPECT_TRUE(absl::IsNotFound(jobs_->StopTraining(NewTenant("other"), pending).status()));
  ASSERT_TRUE(jobs_->Cancel(tenant_, pending).ok());
  const std::string cancelling = NewJob();
  const LeaseRef lease = Claim();
  ASSERT_EQ(jobs_->Cancel(tenant_, cancelling)->state(), v1::Job::CANCELLING);
  EXPECT_EQ(ReasonOf(jobs_->StopTraining(tenant_, cancelling).status()), "JOB_ENDED");
  // A cancel stands above it: nothing is published.
  ASSERT_TRUE(leases_->Finish(lease, Succeeded()).ok());
  EXPECT_EQ(Get(cancelling).state(), v1::Job::CANCELLED);
  const std::string ended = NewJob();
  ASSERT_TRUE(leases_->Finish(Claim(), Succeeded()).ok());
  EXPECT_EQ(ReasonOf(jobs_->StopTraining(tenant_, ended).status()), "JOB_ENDED");
}

// Cancels and claims go for the same rows in both directions; every job must end up on one side.
TEST_F(JobStoreTest, CancelsRacedByClaimsLeaveNoJobBehind) {
  constexpr int kJobs = 40;
  std::vector<std::string> ids;
  for (int i = 0; i < kJobs; ++i) ids.push_back(NewJob());
  std::atomic<int> claimed = 0;
  std::atomic<int> failures = 0;
  std::thread worker([&] {
    for (int idle = 0; idle < 3;) {
      const auto lease = leases_->Claim(worker_);
      if (!lease.ok()) ++failures;
      const bool got = lease.ok() && lease->has_value();
      claimed += got;
      idle = got ? 0 : idle + 1;
    }
  });
  for (auto id = ids.rbegin(); id != ids.rend(); ++id) failures += !jobs_->Cancel(tenant_, *id).ok();
  worker.join();
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(Sql("SELECT count(*) FROM job_ready"), "0");
  EXPECT_EQ(Sql("SELECT count(*) FROM job WHERE state = 'CANCELLED'"), absl::StrCat(kJobs - claimed));
  EXPECT_EQ(Sql("SELECT count(*) FROM job WHERE state = 'CANCELLING'"), absl::StrCat(claimed.load()));
  EXPECT_EQ(Sql("SELECT count(*) FROM job_lease"), absl::StrCat(claimed.load()));
}

TEST_F(JobStoreTest, AModelInUseCanNotBeDeleted) {
  const std::string id = NewJob();
  ModelStore models(database_.get());
  const std::string model = IdOf("models", spec_.model());
  const absl::Status refused = models.Delete(tenant_, model);
  EXPECT_TRUE(absl::IsFailedPrecondition(refused));
  EXPECT_EQ(ReasonOf(refused), "IN_USE");
  ASSERT_TRUE(jobs_->Cancel(tenant_, id).ok());
  EXPECT_TRUE(models.Delete(tenant_, model).ok());
  EXPECT_EQ(Get(id).spec().model(), spec_.model());
}

}  // namespace
}  // namespace pactory

#include "storage/lease_store.h"

#include <mutex>
#include <set>
#include <thread>

#include "base/error.h"
#include "gtest/gtest.h"
#include "tests/storage/queue_fixture.h"

namespace pactory {
namespace {

using LeaseStoreTest = QueueTest;

void ExpectLost(const absl::Status& status, const char* what) {
  EXPECT_TRUE(absl::IsAborted(status)) << what << ": " << status;
  EXPECT_EQ(ReasonOf(status), "LEASE_LOST") << what;
}

TEST_F(LeaseStoreTest, ALeaseHasEverythingTheWorkerNeeds) {
  const std::string id = NewJob();
  const auto claimed = leases_->Claim(worker_);
  ASSERT_TRUE(claimed.ok() && claimed->has_value()) << claimed.status();
  const v1::Lease& lease = **claimed;
  EXPECT_EQ(lease.token().job(), "jobs/" + id);
  EXPECT_EQ(lease.token().fence(), 1);
  EXPECT_EQ(lease.job().state(), v1::Job::RUNNING);
  EXPECT_EQ(lease.job().attempt(), 1);
  EXPECT_EQ(lease.job().worker(), "workers/" + worker_);
  EXPECT_EQ(lease.model().size_bytes(), 5);
  EXPECT_EQ(lease.model().format(), "onnx");
  EXPECT_EQ(lease.train_dataset().format(), "npz");
  EXPECT_FALSE(lease.has_checkpoint());
  EXPECT_FALSE(leases_->Claim(worker_)->has_value());
}

TEST_F(LeaseStoreTest, LowerPriorityNumbersAndOlderJobsComeFirst) {
  const std::string late = NewJob(5);
  const std::string first = NewJob(0);
  const std::string second = NewJob(0);
  const std::string urgent = NewJob(-1);
  EXPECT_EQ(Claim().job_id, urgent);
  EXPECT_EQ(Claim().job_id, first);
  EXPECT_EQ(Claim().job_id, second);
  EXPECT_EQ(Claim().job_id, late);
}

TEST_F(LeaseStoreTest, ClaimersNeverShareAJob) {
  constexpr int kJobs = 60;
  for (int i = 0; i < kJobs; ++i) NewJob();
  std::mutex mutex;
  std::multiset<std::string> taken;
  std::vector<std::thread> claimers;
  for (int i = 0; i < 6; ++i) {
    claimers.emplace_back([&, worker = NewWorker()] {
      while (true) {
        const auto lease = leases_->Claim(worker);
        ASSERT_TRUE(lease.ok()) << lease.status();
        const std::lock_guard<std::mutex> lock(mutex);
        // A claimer that finds every free row locked by others comes away empty while jobs are left.
        if (!lease->has_value() && taken.size() == kJobs) return;
        if (lease->has_value()) taken.insert((*lease)->token().job());
      }
    });
  }
  for (std::thread& claimer : claimers) claimer.join();
  EXPECT_EQ(taken.size(), kJobs);
  EXPECT_EQ(std::set<std::string>(taken.begin(), taken.end()).size(), kJobs);
}

TEST_F(LeaseStoreTest, EveryWriteUnderAStaleFenceIsRefused) {
  const std::string id = NewJob();
  const LeaseRef stale = Claim();
  Expire(stale);
  ASSERT_EQ(leases_->Reap()->requeued.size(), 1);
  const std::string blob = NewBlob(tenant_, "checkpoint");
  for (const bool claimed_again : {false, true}) {
    if (claimed_again) {
      EXPECT_GT(Claim().fence, stale.fence);
    }
    ExpectLost(leases_->Heartbeat(stale, {}).status(), "heartbeat");
    ExpectLost(leases_->TenantOf(stale).status(), "tenant");
    ExpectLost(leases_->CommitCheckpoint(stale, blob, 1), "checkpoint");
    ExpectLost(leases_->Release(stale), "release");
    ExpectLost(leases_->Finish(stale, Succeeded()).status(), "succeeded");
    ExpectLost(leases_->Finish(stale, Failed("BAD_DATA")).status(), "failed");
    ExpectLost(leases_->Finish(stale, Cancelled()).status(), "cancelled");
    v1::ReportMetricsRequest metrics;
    metrics.set_batch(1);
    metrics.add_metrics()->set_name("loss");
    ExpectLost(metrics_->Append(stale, metrics), "metrics");
    BlobChunks chunks(database_->connection_string(), 1);
    BlobStore blobs(database_.get(), &chunks);
    const UploadSpec upload = {
        .tenant_id = tenant_, .upload_id = NewUuid(), .sha256 = std::string(64, 'a'), .size_bytes = 3, .lease = stale};
    ASSERT_TRUE(blobs.BeginUpload(upload).ok());
    ExpectLost(
        blobs.AppendChunk({.tenant_id = tenant_, .upload_id = upload.upload_id, .offset = 0, .lease = stale}, "abc"),
        "chunk");
  }
  EXPECT_EQ(Get(id).state(), v1::Job::RUNNING);
  EXPECT_EQ(Sql("SELECT count(*) FROM job_metric"), "0");
  EXPECT_EQ(Sql("SELECT checkpoint_blob_id IS NULL FROM job"), "t");
}

TEST_F(LeaseStoreTest, ALateWriteIsAcceptedWhileNobodyElseHasTheJob) {
  const std::string id = NewJob();
  const LeaseRef lease = Claim();
  Expire(lease);
  EXPECT_TRUE(leases_->Heartbeat(lease, {}).ok());
  EXPECT_TRUE(leases_->Reap()->requeued.empty());
  Expire(lease);
  EXPECT_TRUE(leases_->Finish(lease, Succeeded()).ok());
  EXPECT_EQ(Get(id).state(), v1::Job::SUCCEEDED);
}

TEST_F(LeaseStoreTest, AJobGoesBackToItsPlaceWhenItsWorkerIsLost) {
  const std::string id = NewJob();
  const std::string younger = NewJob();
  Expire(Claim());
  EXPECT_EQ(leases_->Reap()->requeued, std::vector<std::string>{id});
  const v1::Job job = Get(id);
  EXPECT_EQ(job.state(), v1::Job::PENDING);
  EXPECT_EQ(job.lost_attempts(), 1);
  EXPECT_EQ(job.queue_position(), 0);
  EXPECT_EQ(Claim().job_id, id);
}

TEST_F(LeaseStoreTest, AJobThatLosesEveryWorkerIsGivenUp) {
  const std::string id = NewJob();
  for (int attempt = 1; attempt <= 3; ++attempt) {
    Expire(Claim());
    const auto report = leases_->Reap();
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_EQ(report->failed.size(), attempt == 3 ? 1 : 0);
  }
  const v1::Job job = Get(id);
  EXPECT_EQ(job.state(), v1::Job::FAILED);
  EXPECT_EQ(job.error().reason(), "WORKER_LOST");
  EXPECT_EQ(job.lost_attempts(), 3);
  EXPECT_TRUE(job.has_end_time());
  EXPECT_FALSE(leases_->Claim(worker_)->has_value());
}

TEST_F(LeaseStoreTest, ACancelledJobEndsWithItsLostWorker) {
  const std::string id = NewJob();
  const LeaseRef lease = Claim();
  ASSERT_TRUE(jobs_->Cancel(tenant_, id).ok());
  Expire(lease);
  EXPECT_EQ(leases_->Reap()->cancelled, std::vector<std::string>{id});
  EXPECT_EQ(Get(id).state(), v1::Job::CANCELLED);
}

TEST_F(LeaseStoreTest, AnAttemptFarOverItsDeadlineFails) {
  const std::string id = NewJob();
  const LeaseRef lease = Claim();
  Sql("UPDATE job_lease SET deadline_time = now() - interval '20 s'");
  EXPECT_TRUE(leases_->Reap()->failed.empty());
  Sql("UPDATE job_lease SET deadline_time = now() - interval '31 s'");
  EXPECT_EQ(leases_->Reap()->failed, std::vector<std::string>{id});
  EXPECT_EQ(Get(id).error().reason(), "DEADLINE_EXCEEDED");
  EXPECT_EQ(Get(id).lost_attempts(), 0);
  ExpectLost(leases_->Heartbeat(lease, {}).status(), "heartbeat");
}

TEST_F(LeaseStoreTest, AfterAnOutageEveryLeaseGetsAFreshTerm) {
  NewJob();
  const LeaseRef lease = Claim();
  Expire(lease);
  ASSERT_TRUE(leases_->ExtendAll().ok());
  EXPECT_TRUE(leases_->Reap()->requeued.empty());
  EXPECT_TRUE(leases_->Heartbeat(lease, {}).ok());
}

TEST_F(LeaseStoreTest, AReleasedJobIsTakenByAnotherWorkerWithoutALoss) {
  const std::string id = NewJob();
  ASSERT_TRUE(leases_->Release(Claim()).ok());
  EXPECT_EQ(Get(id).state(), v1::Job::PENDING);
  EXPECT_EQ(Get(id).lost_attempts(), 0);
  EXPECT_EQ(Claim().job_id, id);
  EXPECT_EQ(Get(id).attempt(), 2);
}

TEST_F(LeaseStoreTest, AReleasedJobThatWasCancelledEnds) {
  const std::string id = NewJob();
  const LeaseRef lease = Claim();
  ASSERT_TRUE(jobs_->Cancel(tenant_, id).ok());
  ASSERT_TRUE(leases_->Release(lease).ok());
  EXPECT_EQ(Get(id).state(), v1::Job::CANCELLED);
}

TEST_F(LeaseStoreTest, AFinishPublishesItsArtifactsWithTheState) {
  const std::string id = NewJob();
  const LeaseRef lease = Claim();
  v1::Progress progress;
  progress.set_step(300);
  ASSERT_TRUE(leases_->Heartbeat(lease, progress).ok());
  v1::FinishJobRequest request = Succeeded();
  v1::Artifact& artifact = *request.mutable_succeeded()->add_artifacts();
  artifact.set_name("report.json");
  artifact.set_blob("blobs/" + NewBlob(tenant_, "{}"));
  artifact.set_media_type("application/json");
  EXPECT_EQ(metrics_->ListArtifacts(tenant_, id, {})->artifacts_size(), 0);
  ASSERT_TRUE(leases_->Finish(lease, request).ok());
  const auto listed = metrics_->ListArtifacts(tenant_, id, {});
  ASSERT_EQ(listed->artifacts_size(), 1);
  EXPECT_EQ(listed->artifacts(0).name(), "jobs/" + id + "/artifacts/report.json");
  EXPECT_EQ(listed->artifacts(0).size_bytes(), 2);
  EXPECT_EQ(Get(id).state(), v1::Job::SUCCEEDED);
  EXPECT_EQ(Get(id).progress().step(), 300);
}

TEST_F(LeaseStoreTest, AFinishWithAMissingBlobChangesNothing) {
  const std::string id = NewJob();
  const LeaseRef lease = Claim();
  v1::FinishJobRequest request = Succeeded();
  v1::Artifact& whole = *request.mutable_succeeded()->add_artifacts();
  whole.set_name("a");
  whole.set_blob("blobs/" + NewBlob(tenant_, "a"));
  v1::Artifact& missing = *request.mutable_succeeded()->add_artifacts();
  missing.set_name("b");
  // Another tenant's blob is no blob of this job's.
  missing.set_blob("blobs/" + NewBlob(NewTenant("other"), "b"));
  const auto finished = leases_->Finish(lease, request);
  EXPECT_TRUE(absl::IsFailedPrecondition(finished.status()));
  EXPECT_EQ(ReasonOf(finished.status()), "BLOB_MISSING");
  EXPECT_EQ(Get(id).state(), v1::Job::RUNNING);
  EXPECT_EQ(Sql("SELECT count(*) FROM artifact"), "0");
  EXPECT_TRUE(leases_->Heartbeat(lease, {}).ok());
}

TEST_F(LeaseStoreTest, TheSameFinishAgainIsFineAndAnotherOutcomeIsNot) {
  NewJob();
  const LeaseRef lease = Claim();
  ASSERT_TRUE(leases_->Finish(lease, Failed("BAD_DATA")).ok());
  EXPECT_TRUE(leases_->Finish(lease, Failed("BAD_DATA")).ok());
  ExpectLost(leases_->Finish(lease, Succeeded()).status(), "other outcome");
}

TEST_F(LeaseStoreTest, AJobThatNobodyCancelledCanNotEndCancelled) {
  const std::string id = NewJob();
  const LeaseRef lease = Claim();
  EXPECT_EQ(ReasonOf(leases_->Finish(lease, Cancelled()).status()), "NOT_CANCELLED");
  EXPECT_EQ(Get(id).state(), v1::Job::RUNNING);
}

TEST_F(LeaseStoreTest, TheNextAttemptStartsFromTheCheckpoint) {
  NewJob();
  const LeaseRef lease = Claim();
  EXPECT_EQ(ReasonOf(leases_->CommitCheckpoint(lease, std::string(64, '0'), 10)), "BLOB_MISSING");
  const std::string blob = NewBlob(tenant_, "checkpoint");
  ASSERT_TRUE(leases_->CommitCheckpoint(lease, blob, 40).ok());
  Expire(lease);
  ASSERT_TRUE(leases_->Reap().ok());
  const auto next = leases_->Claim(worker_);
  ASSERT_TRUE(next.ok() && next->has_value());
  EXPECT_EQ((*next)->checkpoint().blob(), "blobs/" + blob);
  EXPECT_EQ((*next)->checkpoint().step(), 40);
}

TEST_F(LeaseStoreTest, AWorkerThatDoesNotExistGetsNoJob) {
  const std::string id = NewJob();
  EXPECT_FALSE(leases_->Claim(NewUuid()).ok());
  EXPECT_EQ(Get(id).state(), v1::Job::PENDING);
}

}  // namespace
}  // namespace pactory

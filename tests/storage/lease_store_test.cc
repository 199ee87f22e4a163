#include "storage/lease_store.h"

#include <mutex>
#include <pqxx/pqxx>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/sha256.h"
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
  ASSERT_EQ(Reap(v1::Job::PENDING).size(), 1);
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

TEST_F(LeaseStoreTest, AnUploadUnderAStaleFenceIsNeverWhole) {
  NewJob();
  const LeaseRef lease = Claim();
  BlobChunks chunks(database_->connection_string(), 1);
  BlobStore blobs(database_.get(), &chunks);
  const auto upload_all_but_the_end = [&](const std::optional<LeaseRef>& under) {
    UploadSpec upload = {
        .tenant_id = tenant_, .upload_id = NewUuid(), .sha256 = Sha256Hex("abc"), .size_bytes = 3, .lease = under};
    EXPECT_TRUE(blobs.BeginUpload(upload).ok());
    EXPECT_TRUE(
        blobs.AppendChunk({.tenant_id = tenant_, .upload_id = upload.upload_id, .offset = 0, .lease = under}, "abc").ok());
    return upload;
  };
  const UploadSpec first = upload_all_but_the_end(lease);
  const UploadSpec second = upload_all_but_the_end(lease);
  const UploadSpec users = upload_all_but_the_end(std::nullopt);
  Expire(lease);
  ASSERT_EQ(Reap(v1::Job::PENDING).size(), 1);
  ExpectLost(blobs.FinishUpload(first, first.sha256), "the only one of its content");
  EXPECT_TRUE(absl::IsNotFound(blobs.Find(tenant_, first.sha256).status()));
  ASSERT_TRUE(blobs.FinishUpload(users, "").ok());
  ExpectLost(blobs.FinishUpload(second, second.sha256), "one whose content is there meanwhile");
  EXPECT_FALSE(blobs.GetUpload(tenant_, second.upload_id)->complete);
}

TEST_F(LeaseStoreTest, AHeartbeatWritesItsWorkersRowOnceInHalfAMinute) {
  NewJob();
  const LeaseRef lease = Claim();
  const std::string seen = "SELECT now() - last_seen_time < interval '15 s' FROM worker WHERE id = '" + worker_ + "'";
  const auto seen_ago = [&](const std::string& ago) {
    Sql("UPDATE worker SET last_seen_time = now() - interval '" + ago + "' WHERE id = '" + worker_ + "'");
    EXPECT_TRUE(leases_->Heartbeat(lease, {}).ok());
    return Sql(seen) == "t";
  };
  EXPECT_FALSE(seen_ago("20 s"));
  EXPECT_TRUE(seen_ago("40 s"));
}

TEST_F(LeaseStoreTest, OnlyTheCommitOfAHeartbeatDoesNotWaitForTheDisk) {
  // A deferred trigger runs when its transaction commits.
  Sql("CREATE TABLE commits (number serial, waits text);"
      "CREATE FUNCTION note_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
      "INSERT INTO commits (waits) VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$;"
      "CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT OR UPDATE OR DELETE ON job_lease "
      "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note_commit()");
  NewJob();
  const LeaseRef lease = Claim();
  ASSERT_TRUE(leases_->Heartbeat(lease, {}).ok());
  ASSERT_TRUE(leases_->Finish(lease, Succeeded()).ok());
  EXPECT_EQ(Sql("SELECT string_agg(waits, ' ' ORDER BY number) FROM commits"), "on off on");
}

TEST_F(LeaseStoreTest, StartsAndEndsFindTheirJobByItsIdAlsoWithoutStatistics) {
  NewJob();
  ASSERT_TRUE(leases_->Finish(Claim(), Succeeded()).ok());
  // One connection serves all.
  ASSERT_TRUE(database_
                  ->Query("test",
                          [](pqxx::transaction_base& statement) {
                            statement.exec("SELECT pg_stat_force_next_flush()");
                            return absl::OkStatus();
                          })
                  .ok());
  const std::string scans = "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = ";
  EXPECT_NE(Sql(scans + "'job_pkey'"), "0");
  EXPECT_EQ(Sql(scans + "'job_state_of_tenant'"), "0");
}

TEST_F(LeaseStoreTest, ALateWriteIsAcceptedWhileNobodyElseHasTheJob) {
  const std::string id = NewJob();
  const LeaseRef lease = Claim();
  Expire(lease);
  EXPECT_TRUE(leases_->Heartbeat(lease, {}).ok());
  EXPECT_TRUE(leases_->Reap()->empty());
  Expire(lease);
  EXPECT_TRUE(leases_->Finish(lease, Succeeded()).ok());
  EXPECT_EQ(Get(id).state(), v1::Job::SUCCEEDED);
}

TEST_F(LeaseStoreTest, AJobGoesBackToItsPlaceWhenItsWorkerIsLost) {
  const std::string id = NewJob();
  const std::string younger = NewJob();
  Expire(Claim());
  EXPECT_EQ(Reap(v1::Job::PENDING), std::vector<std::string>{id});
  const v1::Job job = Get(id);
  EXPECT_EQ(job.state(), v1::Job::PENDING);
  EXPECT_EQ(job.lost_attempts(), 1);
  EXPECT_EQ(job.queue_position(), 0);
  EXPECT_EQ(Claim().job_id, id);
}

TEST_F(LeaseStoreTest, AJobThatLosesThreeWorkersIsParkedWhateverItsAttempts) {
  spec_.set_max_attempts(20);
  const std::string id = NewJob();
  for (int loss = 1; loss <= 3; ++loss) {
    Expire(Claim());
    EXPECT_EQ(Reap(v1::Job::FAILED).size(), loss == 3 ? 1 : 0);
  }
  const v1::Job job = Get(id);
  EXPECT_EQ(job.state(), v1::Job::FAILED);
  EXPECT_EQ(job.error().reason(), "POISON");
  EXPECT_EQ(job.lost_attempts(), 3);
  EXPECT_EQ(job.failed_attempts(), 0);
  EXPECT_TRUE(job.has_end_time());
  EXPECT_FALSE(leases_->Claim(worker_)->has_value());
}

TEST_F(LeaseStoreTest, AJobWithFewerAttemptsIsGivenUpEarlier) {
  spec_.set_max_attempts(1);
  const std::string id = NewJob();
  Expire(Claim());
  EXPECT_EQ(Reap(v1::Job::FAILED), std::vector<std::string>{id});
  EXPECT_EQ(Get(id).error().reason(), "WORKER_LOST");
}

TEST_F(LeaseStoreTest, ACancelledJobEndsWithItsLostWorker) {
  const std::string id = NewJob();
  const LeaseRef lease = Claim();
  ASSERT_TRUE(jobs_->Cancel(tenant_, id).ok());
  Expire(lease);
  EXPECT_EQ(Reap(v1::Job::CANCELLED), std::vector<std::string>{id});
  EXPECT_EQ(Get(id).state(), v1::Job::CANCELLED);
}

TEST_F(LeaseStoreTest, AnAttemptFarOverItsDeadlineFails) {
  const std::string id = NewJob();
  const LeaseRef lease = Claim();
  Sql("UPDATE job_lease SET deadline_time = now() - interval '20 s'");
  EXPECT_TRUE(leases_->Reap()->empty());
  Sql("UPDATE job_lease SET deadline_time = now() - interval '31 s'");
  EXPECT_EQ(Reap(v1::Job::FAILED), std::vector<std::string>{id});
  EXPECT_EQ(Get(id).error().reason(), "DEADLINE_EXCEEDED");
  EXPECT_EQ(Get(id).lost_attempts(), 0);
  ExpectLost(leases_->Heartbeat(lease, {}).status(), "heartbeat");
}

TEST_F(LeaseStoreTest, AfterAnOutageEveryLeaseGetsAFreshTerm) {
  NewJob();
  const LeaseRef lease = Claim();
  Expire(lease);
  ASSERT_TRUE(leases_->ExtendAll().ok());
  EXPECT_TRUE(leases_->Reap()->empty());
  EXPECT_TRUE(leases_->Heartbeat(lease, {}).ok());
}

TEST_F(LeaseStoreTest, NothingIsTakenBackWhereAScanStoodStill) {
  NewJob();
  Expire(Claim());
  EXPECT_EQ(leases_->Reap(LeaseStore::SteadyClock::now() - std::chrono::seconds(20)).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(leases_->Reap()->size(), 1);
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

TEST_F(LeaseStoreTest, AFailedGatePublishesItsReportWithTheState) {
  const std::string id = NewJob();
  const LeaseRef lease = Claim();
  v1::FinishJobRequest request = Failed("GATE_FAILED");
  v1::Artifact& report = *request.add_failed_artifacts();
  report.set_name("report.json");
  report.set_blob("blobs/" + std::string(64, '0'));
  EXPECT_EQ(ReasonOf(leases_->Finish(lease, request).status()), "BLOB_MISSING");
  EXPECT_EQ(Get(id).state(), v1::Job::RUNNING);
  report.set_blob("blobs/" + NewBlob(tenant_, "{}"));
  ASSERT_TRUE(leases_->Finish(lease, request).ok());
  EXPECT_EQ(Get(id).state(), v1::Job::FAILED);
  const auto listed = metrics_->ListArtifacts(tenant_, id, {});
  ASSERT_EQ(listed->artifacts_size(), 1);
  EXPECT_EQ(listed->artifacts(0).name(), "jobs/" + id + "/artifacts/report.json");
  EXPECT_TRUE(leases_->Finish(lease, request).ok()) << "the answer may have been lost";
}

TEST_F(LeaseStoreTest, AFailureThatDoesNotEndTheJobPublishesNothing) {
  const std::string id = NewJob();
  v1::FinishJobRequest request = Failed("INTERNAL");
  v1::Artifact& report = *request.add_failed_artifacts();
  report.set_name("report.json");
  report.set_blob("blobs/" + NewBlob(tenant_, "{}"));
  ASSERT_TRUE(leases_->Finish(Claim(), request).ok());
  EXPECT_EQ(Get(id).state(), v1::Job::PENDING);
  EndWait();
  const LeaseRef second = Claim();
  ASSERT_TRUE(jobs_->Cancel(tenant_, id).ok());
  request.mutable_failed()->set_reason("GATE_FAILED");
  ASSERT_TRUE(leases_->Finish(second, request).ok());
  EXPECT_EQ(Get(id).state(), v1::Job::CANCELLED);
  EXPECT_EQ(Sql("SELECT count(*) FROM artifact"), "0");
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

TEST_F(LeaseStoreTest, AnAttemptWithoutProgressIsTakenBackAndCountsAsFailed) {
  spec_.mutable_stall()->set_seconds(60);
  const std::string id = NewJob();
  const LeaseRef lease = Claim();
  v1::Progress progress;
  progress.set_step(1);
  ASSERT_TRUE(leases_->Heartbeat(lease, progress).ok());
  // Heartbeats that tell nothing new keep the lease and do not hide the stall.
  Sql("UPDATE job_lease SET stall_time = stall_time - interval '55 s'");
  ASSERT_TRUE(leases_->Heartbeat(lease, progress).ok());
  EXPECT_EQ(Sql("SELECT stall_time < now() + interval '6 s' FROM job_lease"), "t");
  progress.set_step(2);
  ASSERT_TRUE(leases_->Heartbeat(lease, progress).ok());
  EXPECT_EQ(Sql("SELECT stall_time > now() + interval '50 s' FROM job_lease"), "t");
  EXPECT_TRUE(leases_->Reap()->empty());

  Sql("UPDATE job_lease SET stall_time = now() - interval '1 s'");
  const auto reaped = leases_->Reap();
  ASSERT_EQ(reaped->size(), 1);
  EXPECT_EQ(reaped->front().end, AttemptEnd::kStalled);
  EXPECT_EQ(Get(id).state(), v1::Job::PENDING);
  EXPECT_EQ(Get(id).failed_attempts(), 1);
  EXPECT_EQ(Get(id).lost_attempts(), 0);
  ExpectLost(leases_->Heartbeat(lease, progress).status(), "heartbeat");
  for (int failure = 2; failure <= 3; ++failure) {
    EndWait();
    Claim();
    Sql("UPDATE job_lease SET stall_time = now() - interval '1 s'");
    ASSERT_EQ(leases_->Reap()->size(), 1);
  }
  EXPECT_EQ(Get(id).state(), v1::Job::FAILED);
  EXPECT_EQ(Get(id).error().reason(), "STALLED");
}

TEST_F(LeaseStoreTest, AFreshTermCoversStallAndDeadlineToo) {
  NewJob();
  const LeaseRef lease = Claim();
  Sql("UPDATE job_lease SET lease_until = now() - interval '1 h', stall_time = now() - interval '1 h', "
      "deadline_time = now() - interval '1 h'");
  ASSERT_TRUE(leases_->ExtendAll().ok());
  EXPECT_TRUE(leases_->Reap()->empty());
  EXPECT_TRUE(leases_->Finish(lease, Succeeded()).ok());
}

TEST_F(LeaseStoreTest, AFailureOfTheWorkerIsTriedAgainAfterAPause) {
  const std::string id = NewJob();
  const LeaseRef first = Claim();
  ASSERT_TRUE(leases_->Finish(first, Failed("TRAINER_DIED")).ok());
  ExpectLost(leases_->Finish(first, Failed("TRAINER_DIED")).status(), "the same again");
  EXPECT_EQ(Get(id).state(), v1::Job::PENDING);
  EXPECT_EQ(Get(id).failed_attempts(), 1);
  EXPECT_EQ(Sql("SELECT ready_time > now() + interval '4 s' AND ready_time <= now() + interval '10 s' FROM job_ready"),
            "t");
  EXPECT_EQ(Sql("SELECT detail FROM job_event WHERE kind = 'RETRIED'"), "TRAINER_DIED: why");
  EXPECT_FALSE(leases_->Claim(worker_)->has_value()) << "its pause is not over";
  const std::string other = NewJob();
  EXPECT_EQ(Claim().job_id, other) << "a job that waits holds nobody up";
  EndWait();
  EXPECT_EQ(Claim().job_id, id);
  EXPECT_EQ(Get(id).attempt(), 2);
}

TEST_F(LeaseStoreTest, PausesAreSpread) {
  constexpr int kJobs = 40;
  for (int i = 0; i < kJobs; ++i) NewJob();
  for (int i = 0; i < kJobs; ++i) ASSERT_TRUE(leases_->Finish(Claim(), Failed("INTERNAL")).ok());
  EXPECT_EQ(Sql("SELECT max(ready_time) - min(ready_time) > interval '2 s' FROM job_ready"), "t");
}

TEST_F(LeaseStoreTest, BadInputIsNotTriedAgain) {
  const std::string id = NewJob();
  ASSERT_TRUE(leases_->Finish(Claim(), Failed("BAD_DATA")).ok());
  EXPECT_EQ(Get(id).state(), v1::Job::FAILED);
  EXPECT_EQ(Get(id).error().reason(), "BAD_DATA");
  EXPECT_EQ(Get(id).error().message(), "why");
}

TEST_F(LeaseStoreTest, OutOfMemoryComesBackOnceWithHalfTheBatchAndFromTheStart) {
  v1::TrainingConfig& training = *spec_.mutable_config()->mutable_training();
  training.set_batch_size(32);
  training.set_halve_batch_on_out_of_memory(true);
  const std::string id = NewJob();
  const LeaseRef lease = Claim();
  ASSERT_TRUE(leases_->CommitCheckpoint(lease, NewBlob(tenant_, "checkpoint"), 5).ok());
  ASSERT_TRUE(leases_->Finish(lease, Failed("OUT_OF_MEMORY")).ok());
  EndWait();
  const auto second = leases_->Claim(worker_);
  ASSERT_TRUE(second.ok() && second->has_value()) << second.status();
  EXPECT_EQ((*second)->job().spec().config().training().batch_size(), 16);
  EXPECT_FALSE((*second)->has_checkpoint());
  ASSERT_TRUE(leases_->Finish({id, (*second)->token().fence()}, Failed("OUT_OF_MEMORY")).ok());
  EXPECT_EQ(Get(id).state(), v1::Job::FAILED);
  EXPECT_EQ(Get(id).failed_attempts(), 2);
}

TEST_F(LeaseStoreTest, NothingIsPublishedAfterACancelWasAcknowledged) {
  const std::string id = NewJob();
  const LeaseRef lease = Claim();
  ASSERT_EQ(jobs_->Cancel(tenant_, id)->state(), v1::Job::CANCELLING);
  v1::FinishJobRequest request = Succeeded();
  v1::Artifact& artifact = *request.mutable_succeeded()->add_artifacts();
  artifact.set_name("report.json");
  artifact.set_blob("blobs/" + NewBlob(tenant_, "{}"));
  ASSERT_TRUE(leases_->Finish(lease, request).ok());
  EXPECT_TRUE(leases_->Finish(lease, request).ok()) << "the answer may have been lost";
  EXPECT_EQ(Get(id).state(), v1::Job::CANCELLED);
  EXPECT_EQ(Sql("SELECT count(*) FROM artifact"), "0");
}

TEST_F(LeaseStoreTest, AnEndedJobKeepsNoCheckpoint) {
  const std::string id = NewJob();
  const LeaseRef lease = Claim();
  ASSERT_TRUE(leases_->CommitCheckpoint(lease, NewBlob(tenant_, "one"), 1).ok());
  ASSERT_TRUE(leases_->CommitCheckpoint(lease, NewBlob(tenant_, "two"), 2).ok());
  EXPECT_EQ(Sql("SELECT count(*) FROM superseded_checkpoint"), "1");
  ASSERT_TRUE(jobs_->Cancel(tenant_, id).ok());
  Expire(lease);
  EXPECT_EQ(Reap(v1::Job::CANCELLED).size(), 1);
  EXPECT_EQ(Sql("SELECT checkpoint_blob_id IS NULL FROM job"), "t");
  EXPECT_EQ(Sql("SELECT count(*) FROM superseded_checkpoint"), "2");
}

TEST_F(LeaseStoreTest, AWorkerThatDoesNotExistGetsNoJob) {
  const std::string id = NewJob();
  EXPECT_FALSE(leases_->Claim(NewUuid()).ok());
  EXPECT_EQ(Get(id).state(), v1::Job::PENDING);
}

}  // namespace
}  // namespace pactory

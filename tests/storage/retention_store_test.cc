#include "storage/retention_store.h"

#include <pqxx/pqxx>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/ids.h"
#include "gtest/gtest.h"
#include "tests/storage/queue_fixture.h"

namespace pactory {
namespace {

class RetentionTest : public QueueTest {
 protected:
  SweepReport Sweep(const RetentionSettings& settings = {}) {
    BlobChunks chunks(database_->connection_string(), 1);
    BlobStore blobs(database_.get(), &chunks);
    const auto report = RetentionStore(database_.get(), &blobs).Sweep(settings);
    EXPECT_TRUE(report.ok()) << report.status();
    return report.ok() ? *report : SweepReport();
  }
  // A job with a metric and an artifact, ended so long ago.
  std::string EndedJob(const std::string& age) {
    const std::string id = NewJob();
    const LeaseRef lease = Claim();
    v1::ReportMetricsRequest metrics;
    metrics.set_batch(1);
    metrics.add_metrics()->set_name("loss");
    EXPECT_TRUE(metrics_->Append(lease, metrics).ok());
    v1::FinishJobRequest finish = Succeeded();
    v1::Artifact& artifact = *finish.mutable_succeeded()->add_artifacts();
    artifact.set_name("report.json");
    artifact.set_blob("blobs/" + NewBlob(tenant_, "report of " + id));
    EXPECT_TRUE(leases_->Finish(lease, finish).ok());
    Sql("UPDATE job SET end_time = now() - interval '" + age + "' WHERE id = '" + id + "'");
    return id;
  }
  void AgeBlobs(const std::string& age) {
    Sql("UPDATE blob SET use_time = now() - interval '" + age + "'");
    Sql("UPDATE superseded_checkpoint SET time = now() - interval '" + age + "'");
  }
  std::string Count(const std::string& what) { return Sql("SELECT count(*) FROM " + what); }
};

TEST_F(RetentionTest, TheDefaultsKeepJobsForEverAndTheirHistoryForAWhile) {
  const std::string old = EndedJob("400 days");
  const std::string middle = EndedJob("100 days");
  const std::string young = EndedJob("1 day");
  NewJob();
  const SweepReport report = Sweep();
  EXPECT_EQ(report.jobs, 0);
  EXPECT_EQ(report.metric_days, 0) << "they were stored today";
  EXPECT_EQ(report.events, 1);
  EXPECT_EQ(Count("job_metric WHERE job_id = '" + young + "'"), "1");
  EXPECT_EQ(Count("job_event WHERE job_id = '" + old + "'"), "0");
  EXPECT_NE(Count("job_event WHERE job_id = '" + middle + "'"), "0");
  EXPECT_EQ(Count("artifact"), "3");
  EXPECT_EQ(Sweep().events, 0) << "what is gone is not counted again";
}

TEST_F(RetentionTest, MetricsGoByWholeDays) {
  const std::string today = "(now() AT TIME ZONE 'utc')::date";
  Sql("SELECT make_metric_days(" + today + " - 3, " + today + " - 1)");
  const std::string id = NewJob();
  Sql("UPDATE job SET create_time = now() - interval '5 days'");
  const LeaseRef lease = Claim();
  for (int days = 0; days <= 3; ++days) {
    Sql(absl::StrCat("INSERT INTO job_metric (job_id, fence, batch, name, step, value, time, day) SELECT id, fence, 1, 'loss', ",
                     days, ", 0, now(), ", today, " - ", days, " FROM job"));
  }
  EXPECT_EQ(metrics_->List(tenant_, id, {}, "")->metrics_size(), 4);
  RetentionSettings settings;
  settings.metrics = absl::Hours(48);
  // The day before yesterday ended less than two days ago.
  EXPECT_EQ(Sweep(settings).metric_days, 1);
  EXPECT_EQ(metrics_->List(tenant_, id, {}, "")->metrics_size(), 3);
  EXPECT_EQ(metrics_->ReadSince(id, 0, 100)->metrics.size(), 3);
  EXPECT_EQ(Sweep(settings).metric_days, 0);
  EXPECT_EQ(Count("pg_inherits WHERE inhparent = 'job_metric'::regclass"), "10");
}

TEST_F(RetentionTest, ADayWithoutATableIsMadeByTheSweep) {
  Sql("DO $$ DECLARE day record; BEGIN FOR day IN SELECT inhrelid::regclass AS name FROM pg_inherits WHERE inhparent = "
      "'job_metric'::regclass LOOP EXECUTE 'DROP TABLE ' || day.name; END LOOP; END $$");
  Sweep();
  NewJob();
  v1::ReportMetricsRequest metrics;
  metrics.set_batch(1);
  metrics.add_metrics()->set_name("loss");
  EXPECT_TRUE(metrics_->Append(Claim(), metrics).ok());
}

TEST_F(RetentionTest, OldJobsGoWithTheirArtifactsAndTheFilesFollow) {
  const std::string old = EndedJob("10 days");
  const std::string young = EndedJob("1 day");
  const std::string running = NewJob();
  Claim();
  Sql("UPDATE job SET create_time = now() - interval '1 year'");
  RetentionSettings settings;
  settings.jobs = absl::Hours(5 * 24);
  AgeBlobs("2 days");
  const SweepReport report = Sweep(settings);
  EXPECT_EQ(report.jobs, 1);
  EXPECT_EQ(report.blobs, 1);
  EXPECT_EQ(Count("job WHERE id = '" + old + "'"), "0");
  EXPECT_EQ(Count("job_metric WHERE job_id = '" + old + "'"), "0");
  EXPECT_EQ(Get(young).state(), v1::Job::SUCCEEDED);
  EXPECT_EQ(Get(running).state(), v1::Job::RUNNING);
  EXPECT_EQ(Count("artifact"), "1");
}

TEST_F(RetentionTest, UploadsOfAnAttemptThatWasNeverPublishedAreInvisibleAndCollected) {
  const std::string id = NewJob();
  const LeaseRef lease = Claim();
  NewBlob(tenant_, "unpublished result");
  EXPECT_EQ(metrics_->ListArtifacts(tenant_, id, {})->artifacts_size(), 0);
  Expire(lease);
  ASSERT_TRUE(leases_->Reap().ok());
  EXPECT_EQ(Sweep().blobs, 0) << "it may be on its way to a publication";
  const std::string before = Count("blob");
  AgeBlobs("25 hours");
  EXPECT_EQ(Sweep().blobs, 1);
  EXPECT_EQ(std::stoi(Count("blob")), std::stoi(before) - 1);
  EXPECT_EQ(Count("blob_chunk c WHERE NOT EXISTS (SELECT 1 FROM blob b WHERE b.id = c.blob_id)"), "0");
}

TEST_F(RetentionTest, ABlobThatSomebodyAsksForDuringTheSweepStays) {
  const std::string sha256 = NewBlob(tenant_, "nobody's so far");
  AgeBlobs("25 hours");
  pqxx::connection session(database_->connection_string());
  pqxx::work transaction(session);
  transaction.exec("UPDATE blob SET use_time = now() WHERE sha256 = '" + sha256 + "'");
  SweepReport report;
  std::thread sweep([&] { report = Sweep(); });
  // The sweep has chosen the blob and waits for whoever asks for it.
  while (Sql("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") ==
         "0") {
  }
  transaction.commit();
  sweep.join();
  EXPECT_EQ(report.blobs, 0);
  EXPECT_EQ(Count("blob WHERE sha256 = '" + sha256 + "'"), "1");
}

TEST_F(RetentionTest, MoreThanABatchOfBlobsGoesInOneSweep) {
  Sql("INSERT INTO blob (tenant_id, sha256, size_bytes, complete_time) SELECT '" + tenant_ +
      "', md5(i::text), 0, now() FROM generate_series(1, 250) i");
  AgeBlobs("25 hours");
  EXPECT_EQ(Sweep().blobs, 250);
}

TEST_F(RetentionTest, ReplacedCheckpointsGoWhileTheJobRuns) {
  const std::string id = NewJob();
  const LeaseRef lease = Claim();
  for (int step = 1; step <= 5; ++step) {
    ASSERT_TRUE(leases_->CommitCheckpoint(lease, NewBlob(tenant_, "state " + std::to_string(step)), step).ok());
  }
  EXPECT_EQ(Sweep().checkpoints, 0);
  AgeBlobs("11 minutes");
  EXPECT_EQ(Sweep().checkpoints, 4);
  EXPECT_EQ(Count("superseded_checkpoint"), "0");
  EXPECT_EQ(Sql("SELECT checkpoint_step FROM job WHERE id = '" + id + "'"), "5");
  ASSERT_TRUE(leases_->Finish(lease, Succeeded()).ok());
  AgeBlobs("11 minutes");
  EXPECT_EQ(Sweep().checkpoints, 1);
}

TEST_F(RetentionTest, ACheckpointThatAnotherJobStartsFromStays) {
  NewJob();
  NewJob();
  const LeaseRef first = Claim();
  const LeaseRef second = Claim();
  const std::string shared = NewBlob(tenant_, "the same state");
  ASSERT_TRUE(leases_->CommitCheckpoint(first, shared, 1).ok());
  ASSERT_TRUE(leases_->CommitCheckpoint(second, shared, 1).ok());
  ASSERT_TRUE(leases_->CommitCheckpoint(first, NewBlob(tenant_, "another state"), 2).ok());
  AgeBlobs("11 minutes");
  EXPECT_EQ(Sweep().checkpoints, 0);
  EXPECT_EQ(Count("blob WHERE sha256 = '" + shared + "'"), "1");
}

TEST_F(RetentionTest, WorkersThatAreGoneAreForgottenAndThoseWithAJobAreNot) {
  NewJob();
  Claim();
  NewWorker();
  Sql("UPDATE worker SET last_seen_time = now() - interval '31 days'");
  EXPECT_EQ(Sweep().workers, 1);
  EXPECT_EQ(Sql("SELECT id FROM worker"), worker_);
}

TEST_F(RetentionTest, AJobKeepsTheNameOfAWorkerThatIsForgotten) {
  const std::string id = NewJob();
  ASSERT_TRUE(leases_->Finish(Claim(), Succeeded()).ok());
  Sql("UPDATE worker SET last_seen_time = now() - interval '31 days'");
  EXPECT_EQ(Sweep().workers, 1);
  EXPECT_EQ(Get(id).worker(), "workers/" + worker_);
}

}  // namespace
}  // namespace pactory

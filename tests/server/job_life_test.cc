// A job from its creation to its end as a worker and a watcher see it, over a real channel.
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/ids.h"
#include "base/sha256.h"
#include "gtest/gtest.h"
#include "tests/postgres/temporary_postgres.h"
#include "tests/server/server_fixture.h"

namespace pactory {
namespace {

class JobLifeTest : public ServerTest {
 protected:
  grpc::Status Heartbeat(const v1::LeaseToken& token, v1::HeartbeatResponse& response, int64_t step = 0) {
    v1::HeartbeatRequest request;
    *request.mutable_lease() = token;
    request.mutable_progress()->set_step(step);
    return Call(&v1::WorkerService::Stub::Heartbeat, *workers_, worker_token_, request, response);
  }

  grpc::Status Report(const v1::LeaseToken& token, int64_t batch, int count) {
    v1::ReportMetricsRequest request;
    *request.mutable_lease() = token;
    request.set_batch(batch);
    for (int i = 0; i < count; ++i) {
      v1::Metric& metric = *request.add_metrics();
      metric.set_name("train/loss");
      metric.set_step(i);
      metric.set_value(i);
      metric.mutable_time()->set_seconds(1700000000);
    }
    v1::ReportMetricsResponse response;
    return Call(&v1::WorkerService::Stub::ReportMetrics, *workers_, worker_token_, request, response);
  }

  grpc::Status Finish(v1::FinishJobRequest request, const v1::LeaseToken& token) {
    *request.mutable_lease() = token;
    v1::FinishJobResponse response;
    return Call(&v1::WorkerService::Stub::FinishJob, *workers_, worker_token_, request, response);
  }

  v1::Job Get(const std::string& name) {
    v1::GetJobRequest request;
    request.set_name(name);
    v1::Job job;
    EXPECT_TRUE(Call(&v1::JobService::Stub::GetJob, *jobs_, user_, request, job).ok());
    return job;
  }

  // Uploads under a lease, as an agent does.
  std::string UploadUnder(const v1::LeaseToken& token, const std::string& content, grpc::Status& status) {
    const auto context = Context(worker_token_);
    v1::WriteResponse response;
    const auto stream = blobs_->Write(context.get(), &response);
    v1::WriteRequest request;
    request.set_upload_id(NewUuid());
    request.set_sha256(Sha256Hex(content));
    request.set_size_bytes(content.size());
    request.set_data(content);
    request.set_finish_write(true);
    *request.mutable_lease() = token;
    stream->Write(request);
    stream->WritesDone();
    status = stream->Finish();
    return response.blob();
  }
};

TEST_F(JobLifeTest, AWatcherSeesEverythingUpToThePublishedEnd) {
  const std::string job = NewJob(user_);
  const auto context = Context(user_);
  v1::WatchJobRequest watch;
  watch.set_name(job);
  const auto stream = jobs_->WatchJob(context.get(), watch);
  v1::WatchJobResponse message;
  ASSERT_TRUE(stream->Read(&message));
  EXPECT_EQ(message.job().state(), v1::Job::PENDING);

  const v1::LeaseJobResponse lease = Lease(NewWorker());
  ASSERT_TRUE(lease.has_lease());
  const v1::LeaseToken token = lease.lease().token();
  EXPECT_EQ(token.job(), job);
  v1::HeartbeatResponse beat;
  ASSERT_TRUE(Heartbeat(token, beat, 17).ok());
  EXPECT_FALSE(beat.cancel_requested());
  ASSERT_TRUE(Report(token, 1, 1000).ok());
  ASSERT_TRUE(Report(token, 2, 1000).ok());
  ASSERT_TRUE(Report(token, 2, 1000).ok());
  ASSERT_TRUE(Report(token, 3, 500).ok());
  grpc::Status uploaded;
  const std::string blob = UploadUnder(token, "{\"report\": 1}", uploaded);
  ASSERT_TRUE(uploaded.ok()) << uploaded.error_message();
  v1::FinishJobRequest finish;
  v1::Artifact& artifact = *finish.mutable_succeeded()->add_artifacts();
  artifact.set_name("report.json");
  artifact.set_blob(blob);
  artifact.set_media_type("application/json");
  const grpc::Status finished = Finish(finish, token);
  ASSERT_TRUE(finished.ok()) << finished.error_message();
  EXPECT_TRUE(Finish(finish, token).ok()) << "the answer may have been lost";

  int metrics = 0;
  int64_t sequence = 0;
  while (stream->Read(&message)) {
    EXPECT_LE(message.metrics_size(), 1000);
    EXPECT_GE(message.sequence(), sequence);
    sequence = message.sequence();
    metrics += message.metrics_size();
  }
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(metrics, 2500);
  EXPECT_EQ(message.job().state(), v1::Job::SUCCEEDED);
  EXPECT_EQ(message.job().progress().step(), 17);

  v1::ListArtifactsRequest list;
  list.set_parent(job);
  v1::ListArtifactsResponse artifacts;
  ASSERT_TRUE(Call(&v1::JobService::Stub::ListArtifacts, *jobs_, user_, list, artifacts).ok());
  ASSERT_EQ(artifacts.artifacts_size(), 1);
  EXPECT_EQ(artifacts.artifacts(0).name(), job + "/artifacts/report.json");

  // A watch that is resumed gets the state and no metric twice; one that starts anew gets all of them.
  watch.set_after_sequence(sequence);
  const auto again = Context(user_);
  const auto resumed = jobs_->WatchJob(again.get(), watch);
  ASSERT_TRUE(resumed->Read(&message));
  EXPECT_EQ(message.metrics_size(), 0);
  EXPECT_EQ(message.job().state(), v1::Job::SUCCEEDED);
  EXPECT_FALSE(resumed->Read(&message));
  EXPECT_TRUE(resumed->Finish().ok());
}

TEST_F(JobLifeTest, ALongPollGetsTheJobThatComesLater) {
  const std::string worker = NewWorker();
  v1::LeaseJobResponse response;
  std::thread poll([&] { response = Lease(worker, 20); });
  const auto start = std::chrono::steady_clock::now();
  const std::string job = NewJob(user_);
  poll.join();
  ASSERT_TRUE(response.has_lease());
  EXPECT_EQ(response.lease().token().job(), job);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

TEST_F(JobLifeTest, APollWithoutAJobEndsEmptyInTime) {
  const std::string worker = NewWorker();
  const auto start = std::chrono::steady_clock::now();
  EXPECT_FALSE(Lease(worker, 1).has_lease());
  const auto took = std::chrono::steady_clock::now() - start;
  EXPECT_GE(took, std::chrono::milliseconds(900));
  EXPECT_LT(took, std::chrono::seconds(5));
  EXPECT_FALSE(Lease(worker, 0).has_lease());
}

TEST_F(JobLifeTest, AWorkerThatNeverRegisteredIsToldTo) {
  v1::LeaseJobRequest request;
  request.set_worker("workers/" + NewUuid());
  v1::LeaseJobResponse response;
  const grpc::Status status = Call(&v1::WorkerService::Stub::LeaseJob, *workers_, worker_token_, request, response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(ReasonOf(status), "WORKER_UNKNOWN");
}

TEST_F(JobLifeTest, ACancelReachesTheWorkerWithItsNextHeartbeat) {
  const std::string job = NewJob(user_);
  const v1::LeaseToken token = Lease(NewWorker()).lease().token();
  v1::CancelJobRequest cancel;
  cancel.set_name(job);
  v1::Job cancelled;
  ASSERT_TRUE(Call(&v1::JobService::Stub::CancelJob, *jobs_, user_, cancel, cancelled).ok());
  EXPECT_EQ(cancelled.state(), v1::Job::CANCELLING);
  v1::HeartbeatResponse beat;
  ASSERT_TRUE(Heartbeat(token, beat).ok());
  EXPECT_TRUE(beat.cancel_requested());
  v1::FinishJobRequest finish;
  finish.mutable_cancelled();
  ASSERT_TRUE(Finish(finish, token).ok());
  EXPECT_EQ(Get(job).state(), v1::Job::CANCELLED);
}

TEST_F(JobLifeTest, AStoppedTrainingPublishesWhatItsWorkerMadeOfIt) {
  const std::string job = NewJob(user_);
  const v1::LeaseToken token = Lease(NewWorker()).lease().token();
  v1::StopTrainingRequest stop;
  stop.set_name(job);
  v1::Job stopped;
  ASSERT_TRUE(Call(&v1::JobService::Stub::StopTraining, *jobs_, user_, stop, stopped).ok());
  EXPECT_EQ(stopped.state(), v1::Job::RUNNING);
  EXPECT_TRUE(stopped.stop_training_requested());
  v1::HeartbeatResponse beat;
  ASSERT_TRUE(Heartbeat(token, beat).ok());
  EXPECT_TRUE(beat.stop_training_requested());
  EXPECT_FALSE(beat.cancel_requested());
  grpc::Status uploaded;
  v1::FinishJobRequest finish;
  v1::Artifact& artifact = *finish.mutable_succeeded()->add_artifacts();
  artifact.set_name("report.json");
  artifact.set_blob(UploadUnder(token, "{}", uploaded));
  ASSERT_TRUE(Finish(finish, token).ok());
  EXPECT_EQ(Get(job).state(), v1::Job::SUCCEEDED);
  EXPECT_EQ(Sql("SELECT count(*) FROM artifact"), "1");
  EXPECT_EQ(Call(&v1::JobService::Stub::StopTraining, *jobs_, user_, stop, stopped).error_code(), grpc::StatusCode::OK);
}

// A message with the job's state RUNNING was made before the end, so it tells what the server made ahead of its reader.
TEST_F(JobLifeTest, AWatcherThatDoesNotReadHoldsUpNobodyAndLittleIsKeptForIt) {
  constexpr int kWatchers = 20;
  constexpr int kBatches = 60;
  constexpr int kBatchSize = 1000;
  // In messages of at most 1000 metrics.
  constexpr int kMostAhead = 16;
  const std::string job = NewJob(user_);
  const v1::LeaseToken token = Lease(NewWorker()).lease().token();
  grpc::ChannelArguments own_connection;
  own_connection.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // Else gRPC lets the client's side take in megabytes ahead, and nothing is left to wait in the server.
  own_connection.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  own_connection.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 64 << 10);
  v1::WatchJobRequest watch;
  watch.set_name(job);
  struct Watcher {
    std::unique_ptr<v1::JobService::Stub> stub;
    std::unique_ptr<grpc::ClientContext> context;
    std::unique_ptr<grpc::ClientReader<v1::WatchJobResponse>> stream;
  };
  std::vector<Watcher> watchers(kWatchers);
  v1::WatchJobResponse message;
  for (Watcher& watcher : watchers) {
    watcher.context = Context(user_);
    watcher.stub = v1::JobService::NewStub(
        grpc::CreateCustomChannel(server_->grpc_address(), grpc::InsecureChannelCredentials(), own_connection));
    watcher.stream = watcher.stub->WatchJob(watcher.context.get(), watch);
    ASSERT_TRUE(watcher.stream->Read(&message));
  }
  v1::HeartbeatResponse beat;
  for (int batch = 1; batch <= kBatches; ++batch) {
    ASSERT_TRUE(Report(token, batch, kBatchSize).ok());
    const auto begin = std::chrono::steady_clock::now();
    ASSERT_TRUE(Heartbeat(token, beat, batch).ok());
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(1));
  }
  v1::FinishJobRequest finish;
  finish.mutable_succeeded();
  ASSERT_TRUE(Finish(finish, token).ok());

  for (Watcher& watcher : watchers) {
    int ahead = 0;
    while (watcher.stream->Read(&message) && message.job().state() == v1::Job::RUNNING) ++ahead;
    EXPECT_LE(ahead, kMostAhead);
    EXPECT_EQ(message.job().state(), v1::Job::SUCCEEDED);
    EXPECT_LT(message.sequence(), kBatches * kBatchSize) << "what was made ahead must not be all there is";
  }
  // Who begins to read late gets everything.
  Watcher& late = watchers.front();
  int64_t last = message.sequence();
  while (late.stream->Read(&message)) last = message.sequence();
  EXPECT_TRUE(late.stream->Finish().ok());
  EXPECT_EQ(last, std::stoll(Sql("SELECT max(sequence) FROM job_metric")));
  for (size_t i = 1; i < watchers.size(); ++i) {
    watchers[i].context->TryCancel();
    watchers[i].stream->Finish();
  }
}

TEST_F(JobLifeTest, BadFinishesAreRefusedByName) {
  NewJob(user_);
  const v1::LeaseToken token = Lease(NewWorker()).lease().token();
  const auto field_of = [&](const v1::FinishJobRequest& request) {
    const grpc::Status status = Finish(request, token);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << status.error_message();
    return FieldOf(status);
  };
  EXPECT_EQ(field_of({}), "outcome");
  for (const std::string& name : {std::string("../../etc/passwd"), std::string(".."), std::string(""),
                                  std::string("a\nb"), std::string(300, 'a')}) {
    v1::FinishJobRequest request;
    request.mutable_succeeded()->add_artifacts()->set_name(name);
    EXPECT_EQ(field_of(request), "succeeded.artifacts.name") << name;
  }
  v1::FinishJobRequest stray;
  stray.mutable_cancelled();
  stray.add_failed_artifacts()->set_name("report.json");
  EXPECT_EQ(field_of(stray), "failed_artifacts");
  stray.mutable_failed()->set_reason("GATE_FAILED");
  stray.mutable_failed_artifacts(0)->set_name("../report.json");
  EXPECT_EQ(field_of(stray), "failed_artifacts.name");
  v1::FinishJobRequest failed;
  failed.mutable_failed()->set_message("no reason");
  EXPECT_EQ(field_of(failed), "failed.reason");
  // The trainer's last words may be anything and are kept as text.
  failed.mutable_failed()->set_reason("BAD_DATA");
  failed.mutable_failed()->set_message(std::string("signal 9\0after zero", 19));
  EXPECT_TRUE(Finish(failed, token).ok());
  const v1::Job job = Get(token.job());
  EXPECT_EQ(job.state(), v1::Job::FAILED);
  EXPECT_EQ(job.error().message(), "signal 9 after zero");
}

TEST_F(JobLifeTest, ACancelledJobPublishesNothingThoughItsWorkerSucceeded) {
  const std::string job = NewJob(user_);
  const v1::LeaseToken token = Lease(NewWorker()).lease().token();
  grpc::Status uploaded;
  const std::string blob = UploadUnder(token, "{}", uploaded);
  v1::CancelJobRequest cancel;
  cancel.set_name(job);
  v1::Job cancelled;
  ASSERT_TRUE(Call(&v1::JobService::Stub::CancelJob, *jobs_, user_, cancel, cancelled).ok());
  v1::FinishJobRequest finish;
  v1::Artifact& artifact = *finish.mutable_succeeded()->add_artifacts();
  artifact.set_name("report.json");
  artifact.set_blob(blob);
  EXPECT_TRUE(Finish(finish, token).ok());
  EXPECT_EQ(Get(job).state(), v1::Job::CANCELLED);
  EXPECT_EQ(Sql("SELECT count(*) FROM artifact"), "0");
}

TEST_F(JobLifeTest, ACheckpointAboveTheLimitOfFilesIsRefusedAndTheJobGoesOn) {
  NewJob(user_);
  options_.max_blob_bytes = 8;
  StartServer();
  const v1::LeaseToken token = Lease(NewWorker()).lease().token();
  grpc::Status uploaded;
  UploadUnder(token, "of nine b", uploaded);
  EXPECT_EQ(uploaded.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << uploaded.error_message();
  EXPECT_EQ(FieldOf(uploaded), "size_bytes");
  UploadUnder(token, "of eight", uploaded);
  EXPECT_TRUE(uploaded.ok()) << uploaded.error_message();
  v1::HeartbeatResponse beat;
  EXPECT_TRUE(Heartbeat(token, beat).ok());
}

TEST_F(JobLifeTest, StallMustBeATime) {
  v1::CreateJobRequest request = JobRequest(user_);
  request.mutable_job()->mutable_spec()->mutable_stall()->set_seconds(-1);
  v1::Job job;
  const grpc::Status status = Call(&v1::JobService::Stub::CreateJob, *jobs_, user_, request, job);
  EXPECT_EQ(FieldOf(status), "job.spec.stall") << status.error_message();
  request.mutable_job()->mutable_spec()->clear_stall();
  ASSERT_TRUE(Call(&v1::JobService::Stub::CreateJob, *jobs_, user_, request, job).ok());
  EXPECT_EQ(job.spec().stall().seconds(), 1800);
}

class ShortLeaseTest : public JobLifeTest {
 protected:
  void SetUp() override {
    options_.lease_term = absl::Milliseconds(600);
    options_.heartbeat_interval = absl::Milliseconds(200);
    options_.reap_every = absl::Milliseconds(100);
    options_.retry_wait = absl::Milliseconds(200);
    options_.sweep_every = absl::Milliseconds(100);
    options_.retention.old_checkpoints = absl::Milliseconds(200);
    JobLifeTest::SetUp();
  }
};

TEST_F(ShortLeaseTest, AJobOfASilentWorkerGoesToAnotherOneAndTheZombieIsRefused) {
  const std::string job = NewJob(user_);
  const v1::LeaseToken zombie = Lease(NewWorker()).lease().token();
  const v1::LeaseJobResponse rescued = Lease(NewWorker(), 20);
  ASSERT_TRUE(rescued.has_lease());
  EXPECT_EQ(rescued.lease().token().job(), job);
  EXPECT_EQ(rescued.lease().job().attempt(), 2);
  EXPECT_EQ(rescued.lease().job().lost_attempts(), 1);

  v1::HeartbeatResponse beat;
  grpc::Status uploaded;
  UploadUnder(zombie, "zombie's file", uploaded);
  v1::FinishJobRequest finish;
  finish.mutable_succeeded();
  v1::ReleaseJobRequest release;
  *release.mutable_lease() = zombie;
  v1::ReleaseJobResponse released;
  v1::CommitCheckpointRequest checkpoint;
  *checkpoint.mutable_lease() = zombie;
  checkpoint.mutable_checkpoint()->set_blob("blobs/" + std::string(64, '0'));
  v1::CommitCheckpointResponse committed;
  const std::vector<std::pair<const char*, grpc::Status>> writes = {
      {"heartbeat", Heartbeat(zombie, beat)},
      {"metrics", Report(zombie, 1, 1)},
      {"upload", uploaded},
      {"finish", Finish(finish, zombie)},
      {"release", Call(&v1::WorkerService::Stub::ReleaseJob, *workers_, worker_token_, release, released)},
      {"checkpoint", Call(&v1::WorkerService::Stub::CommitCheckpoint, *workers_, worker_token_, checkpoint, committed)},
  };
  for (const auto& [what, status] : writes) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED) << what << ": " << status.error_message();
    EXPECT_EQ(ReasonOf(status), "LEASE_LOST") << what;
  }
}

TEST_F(ShortLeaseTest, AWorkerThatHeartbeatsKeepsItsJob) {
  NewJob(user_);
  const v1::LeaseToken token = Lease(NewWorker()).lease().token();
  v1::HeartbeatResponse beat;
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  while (std::chrono::steady_clock::now() < until) {
    ASSERT_TRUE(Heartbeat(token, beat).ok());
    // An empty poll of a part of the term is what an agent's pause looks like.
    EXPECT_FALSE(Lease(NewWorker(), 0).has_lease());
  }
  EXPECT_EQ(Get(token.job()).attempt(), 1);
}

TEST_F(ShortLeaseTest, AFailedAttemptIsFollowedByAnother) {
  const std::string job = NewJob(user_);
  const v1::LeaseToken token = Lease(NewWorker()).lease().token();
  v1::FinishJobRequest failed;
  failed.mutable_failed()->set_reason("INTERNAL");
  failed.mutable_failed()->set_message("the disk is full");
  ASSERT_TRUE(Finish(failed, token).ok());
  const v1::LeaseJobResponse second = Lease(NewWorker(), 20);
  ASSERT_TRUE(second.has_lease());
  EXPECT_EQ(second.lease().token().job(), job);
  EXPECT_EQ(second.lease().job().attempt(), 2);
  EXPECT_EQ(second.lease().job().failed_attempts(), 1);
  EXPECT_EQ(second.lease().job().lost_attempts(), 0);
}

TEST_F(ShortLeaseTest, AWorkerThatHeartbeatsWithoutProgressLosesItsJob) {
  v1::CreateJobRequest request = JobRequest(user_);
  request.mutable_job()->mutable_spec()->mutable_stall()->set_seconds(1);
  v1::Job job;
  ASSERT_TRUE(Call(&v1::JobService::Stub::CreateJob, *jobs_, user_, request, job).ok());
  const v1::LeaseToken token = Lease(NewWorker()).lease().token();
  v1::HeartbeatResponse beat;
  const auto start = std::chrono::steady_clock::now();
  // Longer than the stall, with progress.
  for (int64_t step = 1; std::chrono::steady_clock::now() - start < std::chrono::seconds(2); ++step) {
    ASSERT_TRUE(Heartbeat(token, beat, step).ok());
  }
  grpc::Status status;
  while ((status = Heartbeat(token, beat, 1)).ok()) {
    ASSERT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
  }
  EXPECT_EQ(ReasonOf(status), "LEASE_LOST");
  EXPECT_EQ(Get(job.name()).failed_attempts(), 1);
  EXPECT_EQ(Get(job.name()).lost_attempts(), 0);
}

TEST_F(ShortLeaseTest, ReplacedCheckpointsAreRemovedWhileTheJobRuns) {
  const std::string job = NewJob(user_);
  const v1::LeaseToken token = Lease(NewWorker()).lease().token();
  v1::HeartbeatResponse beat;
  for (const int step : {1, 2, 3}) {
    grpc::Status uploaded;
    v1::CommitCheckpointRequest checkpoint;
    *checkpoint.mutable_lease() = token;
    checkpoint.mutable_checkpoint()->set_blob(UploadUnder(token, absl::StrCat("state ", step), uploaded));
    checkpoint.mutable_checkpoint()->set_step(step);
    v1::CommitCheckpointResponse committed;
    ASSERT_TRUE(Call(&v1::WorkerService::Stub::CommitCheckpoint, *workers_, worker_token_, checkpoint, committed).ok());
  }
  const std::string unneeded =
      "SELECT count(*) FROM blob b WHERE NOT EXISTS (SELECT 1 FROM model WHERE blob_id = b.id) AND NOT EXISTS (SELECT 1 "
      "FROM dataset WHERE blob_id = b.id)";
  const auto start = std::chrono::steady_clock::now();
  while (Sql(unneeded) != "1") {
    ASSERT_TRUE(Heartbeat(token, beat).ok());
    ASSERT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
  }
  EXPECT_EQ(Sql("SELECT checkpoint_step FROM job"), "3");
}

TEST_F(ShortLeaseTest, AnOutageOfTheDatabaseLongerThanTheLeaseCostsNoJob) {
  TemporaryPostgres& cluster = **TemporaryPostgres::Get();
  const std::string job = NewJob(user_);
  const v1::LeaseToken token = Lease(NewWorker()).lease().token();
  v1::HeartbeatResponse beat;
  ASSERT_TRUE(Heartbeat(token, beat).ok());
  cluster.Stop();
  const auto gone = std::chrono::steady_clock::now();
  // The worker goes on calling, as an agent does.
  while (std::chrono::steady_clock::now() - gone < 3 * absl::ToChronoMilliseconds(options_.lease_term)) {
    EXPECT_EQ(Heartbeat(token, beat).error_code(), grpc::StatusCode::UNAVAILABLE);
  }
  cluster.Start();
  const auto back = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() - back < std::chrono::seconds(2)) {
    const grpc::Status status = Heartbeat(token, beat);
    ASSERT_TRUE(status.ok() || status.error_code() == grpc::StatusCode::UNAVAILABLE) << status.error_message();
  }
  EXPECT_EQ(Get(job).attempt(), 1);
  EXPECT_EQ(Get(job).lost_attempts(), 0);
}

// The database's functions of time are covered by ones whose clock can be set.
TEST_F(ShortLeaseTest, AStepOfTheDatabasesClockCostsNoJob) {
  Sql("CREATE TABLE clock_step (at timestamptz, by interval);"
      "CREATE FUNCTION public.clock_of(true_time timestamptz) RETURNS timestamptz STABLE LANGUAGE sql AS "
      "'SELECT true_time + coalesce((SELECT by FROM public.clock_step WHERE at <= true_time), interval ''0'')';"
      "CREATE FUNCTION public.now() RETURNS timestamptz STABLE LANGUAGE sql AS "
      "'SELECT public.clock_of(pg_catalog.now())';"
      "CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz VOLATILE LANGUAGE sql AS "
      "'SELECT public.clock_of(pg_catalog.clock_timestamp())';"
      "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog', current_database()); END $$");
  StartServer();
  const std::string job = NewJob(user_);
  const v1::LeaseToken token = Lease(NewWorker()).lease().token();
  // Within a transaction the clock must not step: each sees the row before it counts.
  Sql("INSERT INTO clock_step VALUES (pg_catalog.clock_timestamp() + interval '500 ms', '5 minutes')");
  v1::HeartbeatResponse beat;
  const auto start = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() - start < std::chrono::seconds(2)) {
    const grpc::Status status = Heartbeat(token, beat);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
  EXPECT_EQ(Sql("SELECT lease_until > pg_catalog.now() + interval '4 minutes' FROM job_lease"), "t");
  EXPECT_EQ(Get(job).lost_attempts(), 0);
  // From then on a silent worker is noticed as ever.
  EXPECT_EQ(Lease(NewWorker(), 20).lease().job().lost_attempts(), 1);
}

TEST_F(ShortLeaseTest, AnUrgentJobGetsThePlaceOfALessUrgentOneThatIsGivenBack) {
  options_.preempt_after = absl::Milliseconds(200);
  StartServer();
  v1::CreateJobRequest request = JobRequest(user_);
  v1::Job patient;
  v1::Job urgent;
  request.mutable_job()->mutable_spec()->set_priority(10);
  ASSERT_TRUE(Call(&v1::JobService::Stub::CreateJob, *jobs_, user_, request, patient).ok());
  const std::string worker = NewWorker();
  const v1::LeaseToken token = Lease(worker).lease().token();
  v1::HeartbeatResponse beat;
  ASSERT_TRUE(Heartbeat(token, beat).ok());
  EXPECT_FALSE(beat.release_requested());
  request.mutable_job()->mutable_spec()->set_priority(0);
  ASSERT_TRUE(Call(&v1::JobService::Stub::CreateJob, *jobs_, user_, request, urgent).ok());
  const auto queued = std::chrono::steady_clock::now();
  while (!beat.release_requested()) {
    ASSERT_TRUE(Heartbeat(token, beat).ok());
    ASSERT_LT(std::chrono::steady_clock::now() - queued, std::chrono::seconds(10));
  }
  EXPECT_GE(std::chrono::steady_clock::now() - queued, std::chrono::milliseconds(150));
  v1::ReleaseJobRequest release;
  *release.mutable_lease() = token;
  v1::ReleaseJobResponse released;
  ASSERT_TRUE(Call(&v1::WorkerService::Stub::ReleaseJob, *workers_, worker_token_, release, released).ok());
  EXPECT_EQ(Lease(worker, 20).lease().job().name(), urgent.name());
  const v1::Job given_back = Get(patient.name());
  EXPECT_EQ(given_back.state(), v1::Job::PENDING);
  EXPECT_EQ(given_back.lost_attempts() + given_back.failed_attempts(), 0);
}

TEST_F(ShortLeaseTest, ARestartOfTheServerCostsNoJob) {
  const std::string job = NewJob(user_);
  const v1::LeaseToken token = Lease(NewWorker()).lease().token();
  server_.reset();
  Sql("UPDATE job_lease SET lease_until = now() - interval '1 h'");
  StartServer();
  v1::HeartbeatResponse beat;
  EXPECT_TRUE(Heartbeat(token, beat).ok());
  EXPECT_EQ(Get(job).lost_attempts(), 0);
}

}  // namespace
}  // namespace pactory

// What the server says and does while the database is away, and when it stops.
#include <httplib.h>

#include <thread>

#include "absl/cleanup/cleanup.h"
#include "gtest/gtest.h"
#include "tests/postgres/temporary_postgres.h"
#include "tests/server/server_fixture.h"

namespace pactory {
namespace {

class OutageTest : public ServerTest {
 protected:
  int HttpCode(const std::string& path) {
    httplib::Client client("http://" + server_->http_address());
    const auto response = client.Get(path.c_str());
    return response ? response->status : 0;
  }

  grpc::Status Status() {
    v1::GetStatusResponse response;
    return Call(&v1::StatusService::Stub::GetStatus, *status_, user_, v1::GetStatusRequest(), response);
  }
};

TEST_F(OutageTest, TheServerOutlivesADatabaseOutage) {
  TemporaryPostgres& cluster = **TemporaryPostgres::Get();
  const std::string job = NewJob(user_);
  const v1::LeaseToken token = Lease(NewWorker()).lease().token();
  ASSERT_TRUE(Status().ok());
  EXPECT_EQ(HttpCode("/readyz"), 200);

  cluster.Stop();
  for (int i = 0; i < 5; ++i) {
    const grpc::Status status = Status();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << status.error_message();
    EXPECT_EQ(ReasonOf(status), "DATABASE_UNAVAILABLE");
    EXPECT_TRUE(HasRetryInfo(status));
  }
  const auto gone = std::chrono::steady_clock::now();
  while (HttpCode("/readyz") != 503) ASSERT_LT(std::chrono::steady_clock::now() - gone, std::chrono::seconds(3));
  EXPECT_EQ(HttpCode("/healthz"), 200);
  EXPECT_EQ(HttpCode("/status"), 200);
  EXPECT_EQ(HttpCode("/metrics"), 200);

  cluster.Start();
  const auto back = std::chrono::steady_clock::now();
  while (!Status().ok()) ASSERT_LT(std::chrono::steady_clock::now() - back, std::chrono::seconds(5));
  while (HttpCode("/readyz") != 200) ASSERT_LT(std::chrono::steady_clock::now() - back, std::chrono::seconds(5));
  v1::HeartbeatRequest beat;
  *beat.mutable_lease() = token;
  v1::HeartbeatResponse answer;
  const grpc::Status kept = Call(&v1::WorkerService::Stub::Heartbeat, *workers_, worker_token_, beat, answer);
  EXPECT_TRUE(kept.ok()) << kept.error_message();
}

TEST_F(OutageTest, ADatabaseThatStandsStillIsToldWithinThreeSeconds) {
  TemporaryPostgres& cluster = **TemporaryPostgres::Get();
  EXPECT_EQ(HttpCode("/readyz"), 200);
  cluster.Freeze();
  const absl::Cleanup thaw = [&] { cluster.Thaw(); };
  const auto still = std::chrono::steady_clock::now();
  while (HttpCode("/readyz") != 503) ASSERT_LT(std::chrono::steady_clock::now() - still, std::chrono::seconds(3));
  EXPECT_LT(std::chrono::steady_clock::now() - still, std::chrono::seconds(3));

  // One read waits for the database; nobody waits for that one again.
  const auto asked = std::chrono::steady_clock::now();
  for (const char* page : {"/healthz", "/status", "/metrics"}) EXPECT_EQ(HttpCode(page), 200) << page;
  EXPECT_EQ(HttpCode("/readyz"), 503);
  EXPECT_LT(std::chrono::steady_clock::now() - asked, std::chrono::seconds(1));
  httplib::Client client("http://" + server_->http_address());
  const auto metrics = client.Get("/metrics");
  ASSERT_TRUE(metrics);
  EXPECT_NE(metrics->body.find("pactory_database_up 0\n"), std::string::npos) << metrics->body;

  cluster.Thaw();
  const auto back = std::chrono::steady_clock::now();
  while (HttpCode("/readyz") != 200) ASSERT_LT(std::chrono::steady_clock::now() - back, std::chrono::seconds(5));
}

TEST_F(OutageTest, StoppingEndsWatchersAndPollsAtOnce) {
  const std::string job = NewJob(user_);
  Lease(NewWorker());
  const std::string worker = NewWorker();
  const auto context = Context(user_);
  v1::WatchJobRequest watch;
  watch.set_name(job);
  const auto stream = jobs_->WatchJob(context.get(), watch);
  v1::WatchJobResponse message;
  ASSERT_TRUE(stream->Read(&message));
  v1::LeaseJobResponse leased;
  Sql("UPDATE worker SET last_seen_time = now() - interval '1 minute' WHERE id = '" + worker.substr(sizeof("workers/") - 1) + "'");
  std::thread poll([&] { leased = Lease(worker, 20); });
  while (Sql("SELECT count(*) FROM worker WHERE last_seen_time > now() - interval '30 s'") != "2") {
  }
  const auto start = std::chrono::steady_clock::now();
  server_.reset();
  poll.join();
  while (stream->Read(&message)) {
  }
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(status), "SHUTTING_DOWN");
  EXPECT_FALSE(leased.has_lease());
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
}

TEST_F(OutageTest, AWatcherThatLeavesIsForgotten) {
  const std::string job = NewJob(user_);
  {
    const auto context = Context(user_);
    v1::WatchJobRequest watch;
    watch.set_name(job);
    const auto stream = jobs_->WatchJob(context.get(), watch);
    v1::WatchJobResponse message;
    ASSERT_TRUE(stream->Read(&message));
    context->TryCancel();
    EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  const auto start = std::chrono::steady_clock::now();
  server_.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - start,
            options_.shutdown_grace == absl::Seconds(2) ? std::chrono::seconds(2) : std::chrono::seconds(0));
}

TEST_F(OutageTest, PublicAddressesNeedTlsOrConsent) {
  ServerOptions options = options_;
  options.listen = "0.0.0.0:0";
  auto refused = Server::Start(options);
  EXPECT_TRUE(absl::IsFailedPrecondition(refused.status())) << refused.status();
  EXPECT_NE(std::string(refused.status().message()).find("--tls-cert"), std::string::npos);
  options = options_;
  options.listen = "127.0.0.1:0";
  options.http_listen = "0.0.0.0:0";
  // TLS of the one is no protection of the other.
  options.exposure = ServerOptions::Exposure::kPublicWithoutTls;
  refused = Server::Start(options);
  EXPECT_TRUE(absl::IsFailedPrecondition(refused.status())) << refused.status();
  EXPECT_NE(std::string(refused.status().message()).find("--http-public"), std::string::npos);
  options.http_exposure = ServerOptions::Exposure::kPublicWithoutTls;
  EXPECT_TRUE(Server::Start(options).ok());
}

TEST_F(OutageTest, ATakenPortIsNamed) {
  ServerOptions options = options_;
  options.listen = server_->grpc_address();
  const auto second = Server::Start(options);
  EXPECT_TRUE(absl::IsUnavailable(second.status())) << second.status();
  EXPECT_NE(std::string(second.status().message()).find(options.listen), std::string::npos);
}

TEST_F(OutageTest, AnOldSchemaIsRefusedWithTheRemedy) {
  server_.reset();
  Sql("DELETE FROM schema_migration WHERE number = (SELECT max(number) FROM schema_migration)");
  const auto server = Server::Start(options_);
  EXPECT_TRUE(absl::IsFailedPrecondition(server.status()));
  EXPECT_NE(std::string(server.status().message()).find("pactory-server migrate"), std::string::npos);
}

TEST_F(OutageTest, HttpShowsTheQueueAndTheNumbers) {
  NewJob(user_);
  NewWorker();
  httplib::Client client("http://" + server_->http_address());
  const auto metrics = client.Get("/metrics");
  ASSERT_TRUE(metrics);
  for (const char* line :
       {"pactory_jobs{state=\"PENDING\"} 1\n", "pactory_jobs{state=\"FAILED\"} 0\n", "pactory_queue_depth 1\n",
        "pactory_queue_oldest_age_seconds", "pactory_workers 1\n", "pactory_db_pool_in_use{pool=\"metadata\"}",
        "pactory_lease_expired_total{why=\"stalled\"} 0\n", "pactory_job_retry_total{class=\"internal\"} 0\n",
        "pactory_job_given_up_total 0\n", "pactory_swept_total{kind=\"blob\"} 0\n", "pactory_lease_fresh_term_total 1\n",
        "pactory_reaper_scan_age_seconds", "pactory_rpc_seconds_count{method=\"JobService/CreateJob\",code=\"OK\"} 1\n", "pactory_database_up 1\n"}) {
    EXPECT_NE(metrics->body.find(line), std::string::npos) << line << " not in\n" << metrics->body;
  }
  const auto status = client.Get("/status");
  ASSERT_TRUE(status);
  EXPECT_NE(status->body.find("\"queue_depth\":1"), std::string::npos) << status->body;
  const auto page = client.Get("/");
  ASSERT_TRUE(page);
  EXPECT_NE(page->body.find("<title>Pactory</title>"), std::string::npos);
  EXPECT_EQ(page->body.find("http://"), std::string::npos) << "the page must need nothing from elsewhere";
  EXPECT_EQ(page->body.find("https://"), std::string::npos);
}

}  // namespace
}  // namespace pactory

// Everybody at once: workers that finish, a reaper that takes back, owners that cancel. Whoever wins, each job ends once,
// and what is published is what its state says.
#include <algorithm>
#include <functional>
#include <future>
#include <pqxx/pqxx>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "base/error.h"
#include "gtest/gtest.h"
#include "storage/lease_store.h"
#include "tests/storage/queue_fixture.h"

namespace pactory {
namespace {

class LeaseRaceTest : public QueueTest {
 protected:
  // Makes the leases of `share` of the jobs end now.
  void ExpireSome(double share) {
    Sql("UPDATE job_lease SET lease_until = now() - interval '1 s' WHERE random() < " + std::to_string(share));
  }
};

TEST_F(LeaseRaceTest, FinishReapAndCancelOfOneJobLeaveOneOutcome) {
  constexpr int kRounds = 60;
  v1::FinishJobRequest finish = Succeeded();
  v1::Artifact& artifact = *finish.mutable_succeeded()->add_artifacts();
  artifact.set_name("report.json");
  artifact.set_blob("blobs/" + NewBlob(tenant_, "{}"));
  int cancelled = 0;
  for (int round = 0; round < kRounds; ++round) {
    const std::string id = NewJob();
    const LeaseRef lease = Claim();
    Expire(lease);
    absl::Status finished;
    bool acknowledged = false;
    std::vector<std::function<void()>> calls = {[&] { finished = leases_->Finish(lease, finish).status(); },
                                                [&] { EXPECT_TRUE(leases_->Reap().ok()); }};
    if (round % 2 == 0) calls.emplace_back([&] { acknowledged = jobs_->Cancel(tenant_, id).ok(); });
    // Threads take long to start on a loaded machine, and the first would always win: each is the first in its turn.
    std::rotate(calls.begin(), calls.begin() + (round / 2) % static_cast<int>(calls.size()), calls.end());
    std::vector<std::thread> racers;
    for (const std::function<void()>& call : calls) racers.emplace_back(call);
    for (std::thread& racer : racers) racer.join();
    const v1::Job job = Get(id);
    const int64_t published = std::stoll(Sql("SELECT count(*) FROM artifact WHERE job_id = '" + id + "'"));
    EXPECT_EQ(published, job.state() == v1::Job::SUCCEEDED ? 1 : 0);
    EXPECT_FALSE(acknowledged && job.state() == v1::Job::SUCCEEDED);
    EXPECT_TRUE(finished.ok() || job.state() != v1::Job::SUCCEEDED) << finished;
    EXPECT_TRUE(finished.ok() || ReasonOf(finished) == "LEASE_LOST") << finished;
    cancelled += job.state() == v1::Job::CANCELLED ? 1 : 0;
    // The next round's claim must find its own job.
    ASSERT_TRUE(job.state() != v1::Job::PENDING || jobs_->Cancel(tenant_, id).ok());
  }
  EXPECT_GT(cancelled, 0);
}

TEST_F(LeaseRaceTest, ManyWorkersAReaperAndCancelsEndEachJobOnce) {
  constexpr int kJobs = 150;
  constexpr int kWorkers = 6;
  std::vector<std::string> ids;
  spec_.set_max_attempts(20);
  for (int i = 0; i < kJobs; ++i) ids.push_back(NewJob());
  v1::FinishJobRequest finish = Succeeded();
  v1::Artifact& artifact = *finish.mutable_succeeded()->add_artifacts();
  artifact.set_name("report.json");
  artifact.set_blob("blobs/" + NewBlob(tenant_, "{}"));
  const std::string open = "SELECT count(*) FROM job WHERE end_time IS NULL";
  std::vector<std::thread> threads;
  for (int w = 0; w < kWorkers; ++w) {
    threads.emplace_back([&, w, worker = NewWorker()] {
      LeaseStore leases(database_.get(), absl::Seconds(30), absl::Milliseconds(1));
      std::mt19937 random(static_cast<unsigned>(w));
      while (Sql(open) != "0") {
        const auto lease = leases.Claim(worker);
        ASSERT_TRUE(lease.ok()) << lease.status();
        if (!lease->has_value()) continue;
        const LeaseRef ref = {IdOf("jobs", (*lease)->token().job()), (*lease)->token().fence()};
        leases.Heartbeat(ref, {}).status().IgnoreError();
        const int choice = static_cast<int>(random() % 8);
        // Some fall silent, some give back, some fail; a zombie comes back with its answer.
        if (choice == 0) continue;
        const absl::Status ended = choice == 1   ? leases.Release(ref)
                                   : choice == 2 ? leases.Finish(ref, Failed("INTERNAL")).status()
                                                 : leases.Finish(ref, finish).status();
        EXPECT_TRUE(ended.ok() || ReasonOf(ended) == "LEASE_LOST") << ended;
      }
    });
  }
  std::vector<std::string> acknowledged;
  threads.emplace_back([&] {
    std::mt19937 random(99);
    for (size_t i = 0; i < ids.size(); i += 1 + random() % 8) {
      if (jobs_->Cancel(tenant_, ids[i]).ok()) acknowledged.push_back(ids[i]);
    }
  });
  threads.emplace_back([&] {
    while (Sql(open) != "0") {
      ExpireSome(0.3);
      const auto reaped = leases_->Reap();
      EXPECT_TRUE(reaped.ok()) << reaped.status();
    }
  });
  for (std::thread& thread : threads) thread.join();

  EXPECT_EQ(Sql("SELECT count(*) FROM job_ready"), "0");
  EXPECT_EQ(Sql("SELECT count(*) FROM job_lease"), "0");
  EXPECT_EQ(Sql("SELECT count(*) FROM job j WHERE (state = 'SUCCEEDED') <> EXISTS (SELECT 1 FROM artifact WHERE job_id "
                "= j.id)"),
            "0");
  EXPECT_EQ(Sql("SELECT count(*) FROM (SELECT job_id FROM job_event WHERE kind IN ('SUCCEEDED', 'FAILED', 'CANCELLED') "
                "GROUP BY job_id HAVING count(*) = 1) ended"),
            std::to_string(kJobs));
  for (const std::string& id : acknowledged) EXPECT_EQ(Get(id).state(), v1::Job::CANCELLED) << id;
  EXPECT_GT(acknowledged.size(), 0);
  EXPECT_NE(Sql("SELECT count(*) FROM job WHERE state = 'SUCCEEDED'"), "0");
}

TEST_F(LeaseRaceTest, ALeaseBeginsWhenItsClaimHasItsLocks) {
  NewJob();
  // As another start of the tenant does, whose server stands still before it commits.
  pqxx::connection start(url_);
  pqxx::work holds(start);
  holds.exec("SELECT 1 FROM tenant_share FOR UPDATE");
  auto claim = std::async(std::launch::async, [&] { return Claim(); });
  const absl::Time limit = absl::Now() + absl::Seconds(10);
  while (Sql("SELECT count(*) FROM pg_locks WHERE NOT granted") == "0" && absl::Now() < limit) {
  }
  holds.exec("SELECT pg_sleep(3)");
  holds.commit();
  claim.get();
  EXPECT_EQ(Sql("SELECT lease_until > clock_timestamp() + interval '28 s' FROM job_lease"), "t") << "of 30 s";
}

TEST_F(LeaseRaceTest, ClaimsThatAreServedTogetherKeepTheTenantsLimit) {
  Sql("UPDATE tenant SET max_running = 4");
  for (int i = 0; i < 10; ++i) NewJob();
  Claim();
  pqxx::connection start(url_);
  pqxx::work holds(start);
  holds.exec("SELECT 1 FROM tenant_share FOR UPDATE");
  std::vector<std::future<std::string>> claims;
  for (int i = 0; i < 7; ++i) {
    claims.push_back(std::async(std::launch::async, [this, worker = NewWorker()]() -> std::string {
      const auto lease = leases_->Claim(worker);
      EXPECT_TRUE(lease.ok()) << lease.status();
      return lease.ok() && lease->has_value() ? (*lease)->job().name() : "";
    }));
  }
  const absl::Time limit = absl::Now() + absl::Seconds(10);
  while (Sql("SELECT count(*) FROM pg_locks WHERE NOT granted") == "0" && absl::Now() < limit) {
  }
  holds.commit();
  std::multiset<std::string> jobs;
  for (auto& claim : claims) jobs.insert(claim.get());
  EXPECT_EQ(jobs.count(""), 4) << "the limit is reached";
  EXPECT_EQ(std::set<std::string>(jobs.begin(), jobs.end()).size(), 4) << "three different jobs";
  EXPECT_EQ(Sql("SELECT count(*) FROM job_lease"), "4");
}

}  // namespace
}  // namespace pactory

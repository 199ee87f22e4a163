// Who comes next: tenants by weight, jobs by priority, workers by kind and memory.
#include <atomic>
#include <chrono>
#include <deque>
#include <future>
#include <map>
#include <pqxx/pqxx>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "gtest/gtest.h"
#include "storage/tenant_store.h"
#include "tests/storage/queue_fixture.h"

namespace pactory {
namespace {

constexpr double kJobSeconds = 60;

class FairShareTest : public QueueTest {
 protected:
  // Queues many jobs at once, as submits would one by one.
  void Fill(const std::string& tenant_id, int count) {
    Sql(absl::StrCat("WITH made AS (INSERT INTO job (tenant_id, display_name, spec, model_id, train_dataset_id, "
                     "eval_dataset_id, priority, max_attempts, deadline) SELECT m.tenant_id, '', '', m.id, d.id, d.id, 0, 3, "
                     "'1 day' FROM model m JOIN dataset d ON d.tenant_id = m.tenant_id, generate_series(1, ",
                     count, ") WHERE m.tenant_id = '", tenant_id,
                     "' RETURNING id, tenant_id, priority, create_time) INSERT INTO job_ready (job_id, tenant_id, "
                     "priority, create_time) SELECT id, tenant_id, priority, create_time FROM made"));
  }
  std::string NewTenantWithWeight(const std::string& name, int weight) {
    const std::string id = NewTenant(name);
    EXPECT_TRUE(TenantStore(database_.get()).Change({.name = name, .weight = weight}).ok());
    SpecOf(id);
    return id;
  }
  std::string TenantOfJob(const LeaseRef& lease) {
    return Sql("SELECT tenant_id FROM job WHERE id = '" + lease.job_id + "'");
  }
  // Ends an attempt as if it had taken so long.
  void FinishAfter(const LeaseRef& lease, double seconds) {
    Sql(absl::StrCat("UPDATE job SET start_time = now() - interval '", seconds, " s' WHERE id = '", lease.job_id, "'"));
    ASSERT_TRUE(leases_->Finish(lease, Succeeded()).ok());
  }
  std::string NewWorkerWith(const std::vector<std::string>& gpus, int memory_gib, int slots) {
    const std::string id = NewUuid();
    v1::Worker worker;
    for (const std::string& gpu : gpus) worker.mutable_capabilities()->add_gpus(gpu);
    worker.mutable_capabilities()->set_job_memory_gib(memory_gib);
    worker.mutable_capabilities()->set_slots(slots);
    EXPECT_TRUE(workers_->Register(id, worker).ok());
    return id;
  }
  std::string NewJobWith(v1::Resources::WorkerKind kind, int memory_gib) {
    spec_.mutable_resources()->set_worker_kind(kind);
    spec_.mutable_resources()->set_memory_gib(memory_gib);
    return NewJob();
  }
  // The id of the job that a worker gets, or "".
  std::string ClaimedBy(const std::string& worker) {
    const auto lease = leases_->Claim(worker);
    EXPECT_TRUE(lease.ok()) << lease.status();
    return lease.ok() && lease->has_value() ? IdOf("jobs", (*lease)->token().job()) : "";
  }
};

TEST_F(FairShareTest, CompletionsFollowTheWeights) {
  const std::map<std::string, int> weights = {{NewTenantWithWeight("small", 1), 1},
                                              {NewTenantWithWeight("middle", 2), 2},
                                              {NewTenantWithWeight("large", 5), 5}};
  for (const auto& [tenant, weight] : weights) Fill(tenant, 300);
  constexpr int kSlots = 8;
  constexpr int kCompletions = 200;
  std::map<std::string, int> done;
  std::deque<LeaseRef> running;
  for (int i = 0; i < kSlots; ++i) running.push_back(Claim());
  for (int i = 0; i < kCompletions; ++i) {
    ++done[TenantOfJob(running.front())];
    FinishAfter(running.front(), kJobSeconds);
    running.pop_front();
    running.push_back(Claim());
  }
  for (const auto& [tenant, weight] : weights) {
    const double wanted = kCompletions * weight / 8.0;
    EXPECT_NEAR(done[tenant], wanted, 0.1 * wanted) << "weight " << weight;
  }
}

TEST_F(FairShareTest, TenantsWithLongJobsGetAsMuchTimeNotAsManyJobs) {
  const std::string slow = NewTenantWithWeight("slow", 1);
  const std::string quick = NewTenantWithWeight("quick", 1);
  Fill(slow, 300);
  Fill(quick, 300);
  std::map<std::string, double> used;
  for (int i = 0; i < 200; ++i) {
    const LeaseRef lease = Claim();
    const std::string tenant = TenantOfJob(lease);
    const double seconds = tenant == slow ? 4 * kJobSeconds : kJobSeconds;
    used[tenant] += seconds;
    FinishAfter(lease, seconds);
  }
  EXPECT_NEAR(used[slow] / used[quick], 1, 0.1);
}

TEST_F(FairShareTest, ATenantWithOneJobPassesAnotherWithTenThousand) {
  const std::string busy = NewTenantWithWeight("busy", 1);
  Fill(busy, 10000);
  std::deque<LeaseRef> running;
  for (int i = 0; i < 4; ++i) running.push_back(Claim());
  for (int i = 0; i < 20; ++i) {
    FinishAfter(running.front(), kJobSeconds);
    running.pop_front();
    running.push_back(Claim());
  }
  const std::string id = NewJob();
  EXPECT_EQ(Get(id).queue_position(), 0);
  // Four slots free one job each per job length: two lengths are eight claims.
  int claims = 1;
  for (; claims <= 8; ++claims) {
    FinishAfter(running.front(), kJobSeconds);
    running.pop_front();
    running.push_back(Claim());
    if (running.back().job_id == id) break;
  }
  EXPECT_LE(claims, 8);
}

TEST_F(FairShareTest, APauseSavesUpNoSlotTime) {
  const std::string steady = NewTenantWithWeight("steady", 1);
  const std::string back = NewTenantWithWeight("back", 1);
  Fill(steady, 500);
  for (int i = 0; i < 100; ++i) FinishAfter(Claim(), kJobSeconds);
  // By submits, for it is they who notice the return.
  const v1::JobSpec own = spec_;
  const std::string own_tenant = tenant_;
  tenant_ = back;
  spec_ = SpecOf(back);
  for (int i = 0; i < 30; ++i) NewJob();
  std::map<std::string, int> done;
  for (int i = 0; i < 40; ++i) {
    const LeaseRef lease = Claim();
    ++done[TenantOfJob(lease)];
    FinishAfter(lease, kJobSeconds);
  }
  EXPECT_NEAR(done[back], 20, 2);
}

TEST_F(FairShareTest, ALimitOfRunningJobsHoldsUnderRacingClaims) {
  ASSERT_TRUE(TenantStore(database_.get()).Change({.name = "default", .max_running = 3}).ok());
  for (int i = 0; i < 20; ++i) NewJob();
  std::vector<std::thread> claimers;
  for (int i = 0; i < 8; ++i) {
    claimers.emplace_back([&, worker = NewWorker()] {
      for (int k = 0; k < 5; ++k) ASSERT_TRUE(leases_->Claim(worker).ok());
    });
  }
  for (std::thread& claimer : claimers) claimer.join();
  EXPECT_EQ(Sql("SELECT count(*) FROM job_lease"), "3");
  EXPECT_EQ(Sql("SELECT running FROM tenant_standing"), "3");
  ASSERT_TRUE(TenantStore(database_.get()).Change({.name = "default", .max_running = kNoLimit}).ok());
  EXPECT_NE(ClaimedBy(worker_), "");
}

TEST_F(FairShareTest, ALimitOfQueuedJobsHoldsUnderRacingSubmits) {
  ASSERT_TRUE(TenantStore(database_.get()).Change({.name = "default", .max_queued = 5}).ok());
  std::atomic<int> refused = 0;
  std::vector<std::thread> clients;
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([&] {
      for (int k = 0; k < 3; ++k) {
        v1::Job job;
        *job.mutable_spec() = spec_;
        const auto made = jobs_->Create(tenant_, job, {});
        if (made.ok()) continue;
        EXPECT_TRUE(absl::IsResourceExhausted(made.status())) << made.status();
        EXPECT_EQ(ReasonOf(made.status()), "QUOTA_EXCEEDED");
        ++refused;
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(refused, 19);
  EXPECT_EQ(Sql("SELECT count(*) FROM job_ready"), "5");
  // Of another tenant it says nothing.
  const std::string other = NewTenant("other");
  v1::Job theirs;
  *theirs.mutable_spec() = SpecOf(other);
  EXPECT_TRUE(jobs_->Create(other, theirs, {}).ok());
}

TEST_F(FairShareTest, TheLastPlaceIsGivenAgainToTheRequestThatTookIt) {
  ASSERT_TRUE(TenantStore(database_.get()).Change({.name = "default", .max_queued = 1}).ok());
  v1::Job job;
  *job.mutable_spec() = spec_;
  const RequestKey key = {.id = NewUuid(), .sha256 = "content"};
  const auto first = jobs_->Create(tenant_, job, key);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(jobs_->Create(tenant_, job, key)->name(), first->name());
}

TEST_F(FairShareTest, JobsGoToWorkersOfTheirKind) {
  const std::string gpu = NewWorkerWith({"H200"}, 64, 1);
  const std::string cpu = NewWorkerWith({}, 64, 1);
  const std::string for_gpu = NewJobWith(v1::Resources::GPU, 0);
  const std::string for_cpu = NewJobWith(v1::Resources::CPU, 0);
  EXPECT_EQ(ClaimedBy(cpu), for_cpu);
  EXPECT_EQ(ClaimedBy(cpu), "");
  EXPECT_EQ(ClaimedBy(gpu), for_gpu);
  const std::string any = NewJobWith(v1::Resources::ANY, 0);
  EXPECT_EQ(ClaimedBy(gpu), any);
}

TEST_F(FairShareTest, AWorkerTakesWhatFitsItsMemory) {
  const std::string worker = NewWorkerWith({"H200"}, 24, 8);
  const std::string large = NewJobWith(v1::Resources::ANY, 32);
  const std::string first = NewJobWith(v1::Resources::ANY, 16);
  const std::string second = NewJobWith(v1::Resources::ANY, 16);
  const std::string small = NewJobWith(v1::Resources::ANY, 8);
  EXPECT_EQ(ClaimedBy(worker), first);
  EXPECT_EQ(ClaimedBy(worker), small) << "16 more do not fit";
  EXPECT_EQ(ClaimedBy(worker), "");
  ASSERT_TRUE(leases_->Finish({first, 1}, Succeeded()).ok());
  EXPECT_EQ(ClaimedBy(worker), second);
  EXPECT_EQ(Get(large).state(), v1::Job::PENDING);
  // Jobs that ask for nothing take what asks for nothing.
  const std::string modest = NewJobWith(v1::Resources::ANY, 0);
  EXPECT_EQ(ClaimedBy(worker), modest);
}

TEST_F(FairShareTest, TwoSlotsOfAWorkerDoNotShareItsLastMemory) {
  const std::string worker = NewWorkerWith({}, 16, 4);
  for (int i = 0; i < 4; ++i) NewJobWith(v1::Resources::ANY, 16);
  std::vector<std::thread> slots;
  for (int i = 0; i < 4; ++i) slots.emplace_back([&] { ASSERT_TRUE(leases_->Claim(worker).ok()); });
  for (std::thread& slot : slots) slot.join();
  EXPECT_EQ(Sql("SELECT count(*) FROM job_lease"), "1");
}

TEST_F(FairShareTest, ARequeuedJobKeepsItsNeeds) {
  const std::string gpu = NewWorkerWith({"H200"}, 64, 1);
  const std::string id = NewJobWith(v1::Resources::GPU, 16);
  ASSERT_EQ(ClaimedBy(gpu), id);
  ASSERT_TRUE(leases_->Release({id, 1}).ok());
  EXPECT_EQ(ClaimedBy(NewWorkerWith({}, 64, 1)), "");
  EXPECT_EQ(ClaimedBy(gpu), id);
}

TEST_F(FairShareTest, TheStartIsEstimatedFromThePlaceAndTheSlots) {
  EXPECT_TRUE(Get(NewJob()).has_estimated_start_time()) << "the fixture's worker can run it";
  EXPECT_FALSE(Get(NewJobWith(v1::Resources::GPU, 0)).has_estimated_start_time()) << "no worker can run it";
  spec_.clear_resources();
  Claim();
  std::string last;
  for (int i = 0; i < 10; ++i) last = NewJob();
  Sql("UPDATE tenant_share SET mean_seconds = 100");
  const v1::Job job = Get(last);
  EXPECT_EQ(job.queue_position(), 9);
  const int64_t wait = job.estimated_start_time().seconds() - std::stoll(Sql("SELECT extract(epoch FROM now())::bigint"));
  EXPECT_NEAR(static_cast<double>(wait), 1000, 3) << "one slot, which is taken, and ten jobs of 100 s";
}

TEST_F(FairShareTest, AnUrgentJobTakesThePlaceOfALessUrgentOneOfItsTenant) {
  const std::string low = NewJob(5);
  const LeaseRef lease = Claim();
  EXPECT_TRUE(leases_->Preempt(absl::ZeroDuration())->empty());
  NewJob(5);
  Sql("UPDATE job_ready SET ready_time = now() - interval '1 s'");
  EXPECT_TRUE(leases_->Preempt(absl::ZeroDuration())->empty()) << "no more urgent than what runs";
  const std::string urgent = NewJob(-1);
  EXPECT_TRUE(leases_->Preempt(absl::Minutes(5))->empty()) << "it has not waited long enough";
  Sql("UPDATE job_ready SET ready_time = now() - interval '1 s'");
  EXPECT_EQ(*leases_->Preempt(absl::ZeroDuration()), std::vector<std::string>{low});
  EXPECT_TRUE(leases_->Preempt(absl::ZeroDuration())->empty()) << "one is on its way";
  EXPECT_TRUE(leases_->Heartbeat(lease, {})->release_requested());
  ASSERT_TRUE(leases_->Release(lease).ok());
  EXPECT_EQ(Sql("SELECT kind FROM job_event WHERE job_id = '" + low + "' ORDER BY sequence DESC LIMIT 1"), "PREEMPTED");
  EXPECT_EQ(Get(low).state(), v1::Job::PENDING);
  EXPECT_EQ(Get(low).failed_attempts() + Get(low).lost_attempts(), 0);
  EXPECT_EQ(Claim().job_id, urgent);
  EXPECT_EQ(Claim().job_id, low);
}

TEST_F(FairShareTest, AnotherTenantsJobsAreNotPreempted) {
  NewJob(5);
  const LeaseRef lease = Claim();
  const std::string other = NewTenant("other");
  v1::Job theirs;
  *theirs.mutable_spec() = SpecOf(other);
  theirs.mutable_spec()->set_priority(-10);
  ASSERT_TRUE(jobs_->Create(other, theirs, {}).ok());
  Sql("UPDATE job_ready SET ready_time = now() - interval '1 h'");
  EXPECT_TRUE(leases_->Preempt(absl::ZeroDuration())->empty());
  EXPECT_FALSE(leases_->Heartbeat(lease, {})->release_requested());
}

TEST_F(FairShareTest, AnEndWaitsForNoStartOfItsTenant) {
  NewJob();
  const LeaseRef lease = Claim();
  // A start that is not committed yet.
  pqxx::connection start(url_);
  pqxx::work holds(start);
  holds.exec("SELECT 1 FROM tenant_share FOR UPDATE");
  auto finished = std::async(std::launch::async, [&] { return leases_->Finish(lease, Succeeded()).status(); });
  EXPECT_EQ(finished.wait_for(std::chrono::seconds(10)), std::future_status::ready);
  holds.abort();
  EXPECT_TRUE(finished.get().ok());
}

TEST_F(FairShareTest, WhatEndedCountsBeforeTheTenantsNextStartSettlesIt) {
  ASSERT_TRUE(TenantStore(database_.get()).Change({.name = "default", .weight = 2, .max_running = 2}).ok());
  for (int i = 0; i < 4; ++i) NewJob();
  const LeaseRef first = Claim();
  const LeaseRef second = Claim();
  EXPECT_EQ(ClaimedBy(worker_), "") << "two run";
  FinishAfter(first, 100);
  FinishAfter(second, 40);
  // Each start was charged 60 s, and the mean moves by a tenth with each end.
  const double mean = 60 * 0.81 + 70 * 0.19;
  EXPECT_EQ(Sql("SELECT running FROM tenant_standing"), "0");
  EXPECT_EQ(Sql("SELECT round(pass::numeric) FROM tenant_standing"), "70") << "140 s by a weight of 2";
  EXPECT_NEAR(std::stod(Sql("SELECT mean_seconds FROM tenant_standing")), mean, 0.01);
  Claim();
  EXPECT_EQ(Sql("SELECT count(*) FROM share_settlement"), "0");
  EXPECT_EQ(Sql("SELECT running FROM tenant_share"), "1");
  EXPECT_NEAR(std::stod(Sql("SELECT pass FROM tenant_share")), 70 + mean / 2, 0.1);
  EXPECT_NEAR(std::stod(Sql("SELECT mean_seconds FROM tenant_share")), mean, 0.01);
  EXPECT_NE(ClaimedBy(worker_), "");
}

TEST_F(FairShareTest, APauseAlsoSavesUpNothingOfWhatIsNotSettled) {
  const std::string steady = NewTenantWithWeight("steady", 1);
  Fill(steady, 100);
  for (int i = 0; i < 20; ++i) FinishAfter(Claim(), kJobSeconds);
  NewJob();
  // Its only job takes far less than it was charged, and none follows for a while.
  std::vector<LeaseRef> leases;
  for (int i = 0; i < 4; ++i) leases.push_back(Claim());
  for (const LeaseRef& lease : leases) FinishAfter(lease, TenantOfJob(lease) == tenant_ ? 1 : kJobSeconds);
  for (int i = 0; i < 20; ++i) FinishAfter(Claim(), kJobSeconds);
  NewJob();
  EXPECT_NEAR(std::stod(Sql("SELECT pass FROM tenant_standing WHERE tenant_id = '" + tenant_ + "'")),
              std::stod(Sql("SELECT pass FROM tenant_standing WHERE tenant_id = '" + steady + "'")), 0.1);
}

TEST_F(FairShareTest, TheCountOfRunningJobsIsThatOfTheLeases) {
  for (int i = 0; i < 4; ++i) NewJob();
  const LeaseRef finished = Claim();
  const LeaseRef released = Claim();
  const LeaseRef lost = Claim();
  ASSERT_TRUE(leases_->Finish(finished, Failed("BAD_DATA")).ok());
  ASSERT_TRUE(leases_->Release(released).ok());
  Expire(lost);
  ASSERT_TRUE(leases_->Reap().ok());
  EXPECT_EQ(Sql("SELECT running FROM tenant_standing"), "0");
  const auto tenants = TenantStore(database_.get()).List();
  ASSERT_TRUE(tenants.ok());
  EXPECT_EQ(tenants->at(0).queued, 3);
  EXPECT_EQ(tenants->at(0).running, 0);
}

}  // namespace
}  // namespace pactory

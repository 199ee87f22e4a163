#include <atomic>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "base/ids.h"
#include "base/status_macros.h"
#include "tests/load/commands.h"
#include "tests/load/latencies.h"

namespace pactory {
namespace {

constexpr absl::Duration kLeaseWait = absl::Seconds(2);

// What the threads of a run share.
class Run {
 public:
  // Keeps the first failure.
  void Fail(const absl::Status& status) {
    if (status.ok()) return;
    absl::MutexLock lock(&mutex_);
    if (failure_.ok()) failure_ = status;
  }
  absl::Status failure() const {
    absl::MutexLock lock(&mutex_);
    return failure_;
  }
  void Submitted(const std::string& job, absl::Time at) {
    absl::MutexLock lock(&mutex_);
    submitted_[job] = at;
    Match(job);
  }
  void Started(const std::string& job, absl::Time at) {
    absl::MutexLock lock(&mutex_);
    started_[job] = at;
    Match(job);
  }
  nlohmann::ordered_json StartTimes() const {
    absl::MutexLock lock(&mutex_);
    return starts_.ToJson();
  }

 private:
  // A worker may hear of a job before its client does.
  void Match(const std::string& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const auto submitted = submitted_.find(job);
    const auto started = started_.find(job);
    if (submitted == submitted_.end() || started == started_.end()) return;
    starts_.Add(started->second - submitted->second);
    submitted_.erase(submitted);
    started_.erase(started);
  }

  mutable absl::Mutex mutex_;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, absl::Time> submitted_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, absl::Time> started_ ABSL_GUARDED_BY(mutex_);
  Latencies starts_ ABSL_GUARDED_BY(mutex_);
};

absl::Status Submit(LoadSession& session, Run& run) {
  const absl::Time at = absl::Now();
  PACTORY_ASSIGN_OR_RETURN(const v1::Job job, session.CreateJob(session.JobRequest(NewUuid())));
  run.Submitted(job.name(), at);
  return absl::OkStatus();
}

// Returns whether a job came.
absl::StatusOr<bool> LiveOne(LoadSession& session, Run& run) {
  PACTORY_ASSIGN_OR_RETURN(const v1::LeaseJobResponse leased, session.LeaseJob(kLeaseWait));
  if (!leased.has_lease()) return false;
  run.Started(leased.lease().token().job(), absl::Now());
  PACTORY_RETURN_IF_ERROR(session.Heartbeat(leased.lease().token(), 1));
  PACTORY_RETURN_IF_ERROR(session.Succeed(leased.lease().token()));
  return true;
}

}  // namespace

absl::Status RunLives(const LoadTarget& target, int submitters, int workers, int jobs) {
  Run run;
  std::atomic<int> left = jobs;
  std::atomic<int> ended = 0;
  const absl::Time start = absl::Now();
  std::vector<std::thread> threads;
  for (int i = 0; i < submitters; ++i) {
    threads.emplace_back([&] {
      LoadSession session(target);
      while (left.fetch_sub(1) > 0 && run.failure().ok()) run.Fail(Submit(session, run));
    });
  }
  for (int i = 0; i < workers; ++i) {
    threads.emplace_back([&] {
      LoadSession session(target);
      run.Fail(session.Register());
      while (ended < jobs && run.failure().ok()) {
        const auto lived = LiveOne(session, run);
        run.Fail(lived.status());
        ended += lived.ok() && *lived;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  PACTORY_RETURN_IF_ERROR(run.failure());
  const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
  std::cout << nlohmann::ordered_json{{"submitters", submitters},
                                      {"workers", workers},
                                      {"jobs", jobs},
                                      {"seconds", seconds},
                                      {"lives_per_second", jobs / seconds},
                                      {"submit_to_start", run.StartTimes()}}
                   .dump()
            << std::endl;
  return absl::OkStatus();
}

absl::Status RunStarts(const LoadTarget& target, int jobs) {
  Run run;
  std::atomic<int> ended = 0;
  std::thread worker([&] {
    LoadSession session(target);
    run.Fail(session.Register());
    while (ended < jobs && run.failure().ok()) {
      const auto lived = LiveOne(session, run);
      run.Fail(lived.status());
      ended += lived.ok() && *lived;
    }
  });
  LoadSession session(target);
  for (int job = 0; job < jobs && run.failure().ok(); ++job) {
    run.Fail(Submit(session, run));
    // The worker is to be idle when the next one comes.
    while (ended <= job && run.failure().ok()) absl::SleepFor(absl::Milliseconds(2));
    absl::SleepFor(absl::Milliseconds(10));
  }
  worker.join();
  PACTORY_RETURN_IF_ERROR(run.failure());
  std::cout << nlohmann::ordered_json{{"submit_to_start", run.StartTimes()}}.dump() << std::endl;
  return absl::OkStatus();
}

absl::Status RunClaims(const LoadTarget& target, int jobs) {
  LoadSession session(target);
  PACTORY_RETURN_IF_ERROR(session.Register());
  Latencies leases;
  for (int job = 0; job < jobs; ++job) {
    const absl::Time start = absl::Now();
    PACTORY_ASSIGN_OR_RETURN(const v1::LeaseJobResponse leased, session.LeaseJob(absl::ZeroDuration()));
    if (!leased.has_lease()) return absl::FailedPreconditionError("the queue is empty");
    leases.Add(absl::Now() - start);
    PACTORY_RETURN_IF_ERROR(session.Succeed(leased.lease().token()));
  }
  std::cout << nlohmann::ordered_json{{"lease", leases.ToJson()}}.dump() << std::endl;
  return absl::OkStatus();
}

absl::Status RunHeartbeats(const LoadTarget& target, int workers, absl::Duration interval, absl::Duration time) {
  constexpr int kThreads = 8;
  std::vector<Latencies> latencies(kThreads);
  std::vector<absl::Status> results(kThreads);
  std::atomic<int> ready = 0;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      results[thread] = [&]() -> absl::Status {
        LoadSession session(target);
        std::vector<v1::LeaseToken> leases;
        for (int worker = thread; worker < workers; worker += kThreads) {
          PACTORY_RETURN_IF_ERROR(session.Register());
          PACTORY_ASSIGN_OR_RETURN(const v1::LeaseJobResponse leased, session.LeaseJob(kLeaseWait));
          if (!leased.has_lease()) return absl::FailedPreconditionError("there are fewer queued jobs than workers");
          leases.push_back(leased.lease().token());
          // The first ones wait for the last.
          if (leases.size() % 50 == 0) {
            for (const v1::LeaseToken& lease : leases) PACTORY_RETURN_IF_ERROR(session.Heartbeat(lease, 0));
          }
        }
        if (++ready == kThreads) std::cout << "ready" << std::endl;
        const absl::Duration pause = interval / static_cast<double>(leases.size());
        const absl::Time start = absl::Now();
        absl::Time next = start;
        for (int64_t beat = 0; next < start + time; ++beat, next += pause) {
          absl::SleepFor(next - absl::Now());
          const absl::Time before = absl::Now();
          PACTORY_RETURN_IF_ERROR(session.Heartbeat(leases[beat % leases.size()], beat));
          latencies[thread].Add(absl::Now() - before);
        }
        return absl::OkStatus();
      }();
    });
  }
  for (std::thread& thread : threads) thread.join();
  Latencies all;
  for (int thread = 0; thread < kThreads; ++thread) {
    PACTORY_RETURN_IF_ERROR(results[thread]);
    all.Add(latencies[thread]);
  }
  std::cout << nlohmann::ordered_json{{"workers", workers}, {"heartbeat", all.ToJson()}}.dump() << std::endl;
  return absl::OkStatus();
}

}  // namespace pactory

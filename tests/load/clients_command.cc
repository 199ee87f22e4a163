#include <signal.h>
#include <unistd.h>

#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "base/ids.h"
#include "base/status_macros.h"
#include "tests/load/commands.h"

namespace pactory {
namespace {

// What clients were told, a line each, written at once: the run that reads it may kill this process.
class Acknowledgements {
 public:
  explicit Acknowledgements(const std::string& path) : file_(path) {}
  void Write(const std::string& line) {
    absl::MutexLock lock(&mutex_);
    file_ << line << std::endl;
    ++lines_;
  }
  int64_t lines() const {
    absl::MutexLock lock(&mutex_);
    return lines_;
  }

 private:
  mutable absl::Mutex mutex_;
  std::ofstream file_ ABSL_GUARDED_BY(mutex_);
  int64_t lines_ ABSL_GUARDED_BY(mutex_) = 0;
};

class Client {
 public:
  Client(const LoadTarget& target, const ClientHabits& habits, Acknowledgements& told)
      : session_(target), twin_(target), habits_(habits), told_(told), random_(std::random_device()()) {}

  absl::Status Step() {
    const v1::CreateJobRequest request = session_.JobRequest(NewUuid());
    absl::Status twin_status;
    std::thread twin;
    if (Chance(habits_.twice)) twin = std::thread([&] { twin_status = Send(twin_, request).status(); });
    const auto sent = Send(session_, request);
    if (twin.joinable()) twin.join();
    PACTORY_RETURN_IF_ERROR(twin_status);
    PACTORY_ASSIGN_OR_RETURN(const std::string job, sent);
    if (Chance(habits_.again)) later_.push_back(request);
    if (Chance(habits_.cancelled)) {
      const absl::Status cancelled = session_.CancelJob(job).status();
      if (cancelled.ok()) told_.Write(absl::StrCat("cancelled ", job));
      // It may have ended before.
      if (!cancelled.ok() && !absl::IsFailedPrecondition(cancelled)) return cancelled;
    }
    // Late and out of order, as a network delivers what a client had given up.
    if (later_.size() > 20) {
      std::swap(later_[std::uniform_int_distribution<size_t>(0, later_.size() - 1)(random_)], later_.back());
      PACTORY_RETURN_IF_ERROR(Send(session_, later_.back()).status());
      later_.pop_back();
    }
    return absl::OkStatus();
  }

 private:
  absl::StatusOr<std::string> Send(LoadSession& session, const v1::CreateJobRequest& request) {
    PACTORY_ASSIGN_OR_RETURN(const v1::Job job, session.CreateJob(request));
    told_.Write(absl::StrCat("job ", request.request_id(), " ", job.name()));
    return job.name();
  }
  bool Chance(double share) { return std::bernoulli_distribution(share)(random_); }

  LoadSession session_;
  LoadSession twin_;
  const ClientHabits& habits_;
  Acknowledgements& told_;
  std::mt19937 random_;
  std::vector<v1::CreateJobRequest> later_;
};

}  // namespace

absl::Status RunClients(const LoadTarget& target, const ClientHabits& habits) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  Acknowledgements told(habits.acknowledgements);
  absl::Notification stop;
  absl::Mutex mutex;
  absl::Status failure;
  std::vector<std::thread> threads;
  for (int i = 0; i < habits.clients; ++i) {
    threads.emplace_back([&] {
      Client client(target, habits, told);
      const absl::Duration pause = absl::Seconds(habits.clients / habits.rate);
      absl::Time next = absl::Now();
      while (!stop.WaitForNotificationWithDeadline(next)) {
        const absl::Status status = client.Step();
        if (!status.ok()) {
          absl::MutexLock lock(&mutex);
          failure = status;
          kill(getpid(), SIGTERM);
          return;
        }
        // What an outage held up is caught up with.
        next += pause;
      }
    });
  }
  int number = 0;
  sigwait(&signals, &number);
  stop.Notify();
  for (std::thread& thread : threads) thread.join();
  std::cout << nlohmann::ordered_json{{"acknowledgements", told.lines()}}.dump() << std::endl;
  return failure;
}

}  // namespace pactory

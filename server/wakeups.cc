#include "server/wakeups.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "absl/time/clock.h"

namespace pactory {

Wakeups::Wakeups() : timer_([this] { RunTimer(); }) {}

Wakeups::~Wakeups() {
  Stop();
  {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
  }
  timer_.join();
}

void Wakeups::WaitOnce(const std::string& topic, absl::Time due, Wake wake) {
  WaitForTurn(topic, std::numeric_limits<int64_t>::max(), due, std::move(wake));
}

void Wakeups::WaitForTurn(const std::string& topic, int64_t since, absl::Time due, Wake wake) {
  absl::MutexLock lock(&mutex_);
  const auto turn = newest_turn_.find(topic);
  const bool missed = turn != newest_turn_.end() && turn->second > since;
  // The timer thread wakes it: a caller may hold locks that `wake` takes.
  if (stopping_ || missed) due = absl::InfinitePast();
  waiters_.emplace(topic, Waiter{due, std::move(wake), ++now_});
  changed_ = true;
}

int64_t Wakeups::Moment() const {
  absl::MutexLock lock(&mutex_);
  return now_;
}

void Wakeups::BeginTurn(const std::string& topic) {
  int64_t turn = 0;
  {
    absl::MutexLock lock(&mutex_);
    turn = newest_turn_[topic] = ++now_;
  }
  PassOn(topic, turn);
}

void Wakeups::PassOn(const std::string& topic, int64_t turn) {
  Wake wake;
  {
    absl::MutexLock lock(&mutex_);
    const auto first = waiters_.lower_bound(topic);
    if (first == waiters_.end() || first->first != topic || first->second.since > turn) return;
    wake = std::move(first->second.wake);
    waiters_.erase(first);
  }
  wake(turn);
}

void Wakeups::Signal(const std::string& topic) {
  WakeIf([&topic](const std::string& waits_for, const Waiter&) { return waits_for == topic; });
}

void Wakeups::SignalAll() {
  WakeIf([](const std::string&, const Waiter&) { return true; });
}

void Wakeups::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  SignalAll();
}

bool Wakeups::stopping() const {
  absl::MutexLock lock(&mutex_);
  return stopping_;
}

void Wakeups::WakeIf(const std::function<bool(const std::string&, const Waiter&)>& chosen) {
  std::vector<Wake> woken;
  {
    absl::MutexLock lock(&mutex_);
    for (auto it = waiters_.begin(); it != waiters_.end();) {
      if (chosen(it->first, it->second)) {
        woken.push_back(std::move(it->second.wake));
        it = waiters_.erase(it);
      } else {
        ++it;
      }
    }
  }
  for (const Wake& wake : woken) wake(0);
}

void Wakeups::RunTimer() {
  const auto has_news = [this] {
    mutex_.AssertReaderHeld();
    return changed_ || closed_;
  };
  while (true) {
    {
      absl::MutexLock lock(&mutex_);
      absl::Time next = absl::InfiniteFuture();
      for (const auto& [topic, waiter] : waiters_) next = std::min(next, waiter.due);
      changed_ = false;
      if (next > absl::Now()) mutex_.AwaitWithDeadline(absl::Condition(&has_news), next);
      if (closed_) return;
    }
    const absl::Time now = absl::Now();
    WakeIf([now](const std::string&, const Waiter& waiter) { return waiter.due <= now; });
  }
}

}  // namespace pactory

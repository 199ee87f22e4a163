#include "server/wakeups.h"

#include <algorithm>
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

void Wakeups::WaitOnce(const std::string& topic, absl::Time due, std::function<void()> wake) {
  absl::MutexLock lock(&mutex_);
  // The timer thread wakes it: a caller may hold locks that `wake` takes.
  if (stopping_) due = absl::InfinitePast();
  waiters_.emplace(topic, Waiter{due, std::move(wake)});
  changed_ = true;
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
  std::vector<std::function<void()>> woken;
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
  for (const auto& wake : woken) wake();
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

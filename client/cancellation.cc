#include "client/cancellation.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace pactory {

Cancellation::Cancellation() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

Cancellation::~Cancellation() {
  if (fd_ >= 0) close(fd_);
}

void Cancellation::Cancel() {
  absl::MutexLock lock(&mutex_);
  if (cancelled_) return;
  cancelled_ = true;
  const uint64_t one = 1;
  if (fd_ >= 0 && write(fd_, &one, sizeof one) < 0) return;  // an eventfd that was never read can't be full
  for (grpc::ClientContext* call : calls_) call->TryCancel();
}

bool Cancellation::cancelled() const {
  absl::MutexLock lock(&mutex_);
  return cancelled_;
}

bool Cancellation::WaitFor(absl::Duration timeout) const {
  // Not the mutex: its waits end at a time of the system's clock, and one that is set back would stretch them by as much.
  constexpr absl::Duration kLongestPoll = absl::Minutes(1);
  const auto start = std::chrono::steady_clock::now();
  while (!cancelled()) {
    const absl::Duration left = timeout - absl::FromChrono(std::chrono::steady_clock::now() - start);
    if (left <= absl::ZeroDuration()) return false;
    pollfd cancel = {fd_, POLLIN, 0};
    poll(&cancel, 1, static_cast<int>(absl::ToInt64Milliseconds(std::min(left, kLongestPoll))) + 1);
  }
  return true;
}

Cancellation::Scope::Scope(Cancellation& cancellation, grpc::ClientContext& context)
    : cancellation_(cancellation), context_(context) {
  absl::MutexLock lock(&cancellation_.mutex_);
  cancellation_.calls_.insert(&context_);
  if (cancellation_.cancelled_) context_.TryCancel();
}

Cancellation::Scope::~Scope() {
  absl::MutexLock lock(&cancellation_.mutex_);
  cancellation_.calls_.erase(&context_);
}

}  // namespace pactory

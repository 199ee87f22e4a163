#include "workers/trainer/stop_signal.h"

#include <signal.h>

#include <atomic>

namespace pactory {
namespace {

std::atomic<bool> stop_signalled = false;
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may touch lock-free atomics only");

void OnSignal(int) { stop_signalled = true; }

}  // namespace

void CatchStopSignals() {
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  action.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &action, nullptr);
}

bool StopSignalled() { return stop_signalled; }

}  // namespace pactory

// Takes jobs back from lost workers and from attempts that show no progress, every few seconds, on a thread of its own; where
// preemption is on, asks for the return of jobs that hold up more urgent ones.
// After an outage, its own or the database's, it gives every lease one fresh term first: nobody could send a heartbeat
// then. The same after a step of the database's clock, by which leases end too early. Thread-safe.
#pragma once

#include <chrono>
#include <optional>
#include <thread>

#include "absl/time/time.h"
#include "server/server_metrics.h"
#include "server/stop_signal.h"
#include "server/wakeups.h"
#include "storage/lease_store.h"

namespace pactory {

class Reaper {
 public:
  struct Parts {
    LeaseStore* leases = nullptr;
    Wakeups* wakeups = nullptr;
    ServerMetrics* metrics = nullptr;
  };

  /// `preempt_after`: how long a job may wait for one of its tenant's with a lower priority; infinite: for ever.
  Reaper(const Parts& parts, absl::Duration every, absl::Duration preempt_after);
  ~Reaper();

 private:
  void Run();
  absl::Status Scan();
  absl::Status Preempt();
  void Tell(const ReapedJob& job);

  const Parts parts_;
  const absl::Duration every_;
  const absl::Duration preempt_after_;
  // Of the last scan that the database answered; none yet counts as an outage.
  std::optional<std::chrono::steady_clock::time_point> last_scan_;
  bool scan_failed_ = false;
  StopSignal stopping_;
  std::thread thread_;
};

}  // namespace pactory

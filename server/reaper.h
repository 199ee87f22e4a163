// Takes jobs back from lost workers and from attempts that show no progress, every few seconds, on a thread of its own.
// After an outage, its own or the database's, it gives every lease one fresh term first: nobody could send a heartbeat
// then. Thread-safe.
#pragma once

#include <thread>

#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "server/server_metrics.h"
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

  Reaper(const Parts& parts, absl::Duration every);
  ~Reaper();

 private:
  void Run();
  absl::Status Scan();
  void Tell(const ReapedJob& job);

  const Parts parts_;
  const absl::Duration every_;
  // Of the last scan that the database answered; none yet counts as an outage.
  absl::Time last_scan_ = absl::InfinitePast();
  bool scan_failed_ = false;
  absl::Notification stopping_;
  std::thread thread_;
};

}  // namespace pactory

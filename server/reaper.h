// Takes jobs back from lost workers, every few seconds, on a thread of its own; removes blobs that nobody uses, every
// hour. After an outage, its own or the database's, it gives every lease one fresh term first: nobody could send a
// heartbeat then. Thread-safe.
#pragma once

#include <thread>

#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "server/server_metrics.h"
#include "server/wakeups.h"
#include "storage/blob_store.h"
#include "storage/lease_store.h"

namespace pactory {

class Reaper {
 public:
  struct Options {
    absl::Duration every = absl::Seconds(5);
    /// Blobs and uploads that nothing has used for so long and nothing refers to are removed.
    absl::Duration unused_blobs_after = absl::Hours(24);
  };
  struct Parts {
    LeaseStore* leases = nullptr;
    BlobStore* blobs = nullptr;
    Wakeups* wakeups = nullptr;
    ServerMetrics* metrics = nullptr;
  };

  Reaper(const Parts& parts, const Options& options);
  ~Reaper();

 private:
  void Run();
  absl::Status Scan();
  void CollectGarbage();

  const Parts parts_;
  const Options options_;
  // Of the last scan that the database answered; none yet counts as an outage.
  absl::Time last_scan_ = absl::InfinitePast();
  absl::Time next_collection_;
  absl::Notification stopping_;
  std::thread thread_;
};

}  // namespace pactory

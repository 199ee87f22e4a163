// The commands of queue_load; each prints one line of JSON. Used by main.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "tests/load/load_session.h"

namespace pactory {

/// Clients that race one request id, round after round; a round's answers must name one job.
absl::Status RunRace(const LoadTarget& target, int clients, int rounds);

/// Whole lives of jobs: submit, lease, heartbeat, finish; how many a second, and the time from submit to start.
absl::Status RunLives(const LoadTarget& target, int submitters, int workers, int jobs);

/// One idle worker and one client: the time from the submit to the start.
absl::Status RunStarts(const LoadTarget& target, int jobs);

/// Leases and finishes jobs that stand in the queue: the time of a lease.
absl::Status RunClaims(const LoadTarget& target, int jobs);

/// Leases as many jobs as there are workers, which must be queued, then heartbeats them evenly for a while.
absl::Status RunHeartbeats(const LoadTarget& target, int workers, absl::Duration interval, absl::Duration time);

/// How clients behave in RunClients.
struct ClientHabits {
  int clients = 3;
  /// Jobs a second, of all clients.
  double rate = 6;
  /// Shares of the jobs that are sent twice at once, again later, and cancelled.
  double twice = 0.1;
  double again = 0.1;
  double cancelled = 0.08;
  /// Lines `job REQUEST JOB`, `cancelled JOB` for what was acknowledged.
  std::string acknowledgements;
};

/// Clients that submit, repeat and cancel until SIGTERM, and write down what they were told.
absl::Status RunClients(const LoadTarget& target, const ClientHabits& habits);

}  // namespace pactory

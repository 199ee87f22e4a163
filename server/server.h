// The server: stores, services, reaper and pages put together. Used by `pactory-server serve` and by tests.
// Thread-compatible.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "storage/retention_store.h"

namespace pactory {

/// How a server runs.
struct ServerOptions {
  std::string database_url;
  /// `host:port`; port 0 takes a free one.
  std::string listen = "127.0.0.1:7447";
  std::string http_listen = "127.0.0.1:7448";
  /// PEM files; both or none.
  std::string tls_cert_file;
  std::string tls_key_file;
  /// What may be reached from other machines without TLS.
  enum class Exposure { kLoopbackOnly, kPublicWithoutTls } exposure = Exposure::kLoopbackOnly;
  /// The same for the HTTP pages, which have neither TLS nor tokens.
  Exposure http_exposure = Exposure::kLoopbackOnly;
  absl::Duration lease_term = absl::Seconds(30);
  absl::Duration heartbeat_interval = absl::Seconds(10);
  absl::Duration reap_every = absl::Seconds(5);
  /// Before the second attempt of a job that failed once; doubles with each failure.
  absl::Duration retry_wait = absl::Seconds(10);
  /// How long a job may wait while its tenant's jobs of lower priority run, before one of them is given back.
  absl::Duration preempt_after = absl::InfiniteDuration();
  RetentionSettings retention;
  absl::Duration sweep_every = absl::Minutes(5);
  /// Threads for database work, and connections for them.
  int database_threads = 8;
  int blob_connections = 4;
  /// Calls that may wait for a thread.
  int queue_limit = 256;
  int64_t max_blob_bytes = int64_t{5} << 30;
  /// How long running calls get when the server stops.
  absl::Duration shutdown_grace = absl::Seconds(10);
};

class Server {
 public:
  /// Starts a server on a database whose schema is current. FAILED_PRECONDITION where it is not, or where an address
  /// that other machines reach has no TLS; UNAVAILABLE where the database does not answer or a port is taken.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options);

  /// Stops as Stop does.
  ~Server();

  /// Takes no new calls, ends waiting ones, gives the others `shutdown_grace`, and returns when all have ended.
  void Stop();

  /// Addresses as they are, like `127.0.0.1:7447`.
  const std::string& grpc_address() const;
  const std::string& http_address() const;

 private:
  struct Parts;
  explicit Server(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace pactory

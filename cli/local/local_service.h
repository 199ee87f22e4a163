// The whole service on one machine, in one folder: PostgreSQL, the server, workers. Used by `pactory local`. Not
// thread-safe.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/local/daemon.h"
#include "cli/local/postgres_cluster.h"

namespace pactory {

/// What `local up` is asked for.
struct LocalOptions {
  int workers = 1;
  /// 0 takes a free one.
  int grpc_port = 7447;
  int http_port = 7448;
  /// Python with ONNX Runtime, and the script that checks an exported file; no check where either is empty.
  std::string python;
  std::string runtime_check_script;
  /// Passed on to the programs as they are.
  std::vector<std::string> server_arguments;
  std::vector<std::string> worker_arguments;
};

/// A service in a folder.
class LocalService {
 public:
  /// Makes the folder where it is missing, and locks it against other runs of this program.
  static absl::StatusOr<LocalService> Open(const std::string& folder);

  LocalService(LocalService&& other) noexcept;
  LocalService& operator=(LocalService&&) = delete;
  ~LocalService();

  /// Starts what does not run, waits until it is ready, and writes the client config. FAILED_PRECONDITION names a port
  /// that is taken.
  absl::Status Up(const LocalOptions& options);

  /// Ends workers, server and PostgreSQL, in this order.
  absl::Status Down();

  /// Removes the service's data. Only after Down.
  absl::Status Delete();

  /// What runs: {"dir", "running", "postgres": {...}, "server": {...}, "workers": [...], "client_config", "logs"}.
  nlohmann::json Status() const;

  std::string client_config() const { return folder_ + "/client.yaml"; }

 private:
  LocalService(std::string folder, int lock_fd, PostgresCluster postgres);
  absl::Status StartServer(const LocalOptions& options);
  absl::Status StartWorker(int number, const LocalOptions& options);
  absl::StatusOr<std::string> EnsureToken(const std::string& kind);
  Daemon server() const;
  Daemon worker(int number) const;
  std::vector<int> KnownWorkers() const;
  std::string server_ready_file() const { return folder_ + "/run/server.json"; }
  // Address of the running or the last server, by `grpc` or `http`; "" where there was none.
  std::string ServerAddressOf(const std::string& protocol) const;

  std::string folder_;
  int lock_fd_;
  PostgresCluster postgres_;
};

}  // namespace pactory

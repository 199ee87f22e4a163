#include "server/commands/serve_command.h"

#include <signal.h>
#include <spdlog/spdlog.h>
#include <time.h>

#include <cstdio>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "server/commands/migrate_command.h"

namespace pactory {
namespace {

constexpr int kDatabaseRetrySeconds = 1;

// Blocks the signals in this thread and in all that it starts; only Wait takes them.
class StopSignals {
 public:
  StopSignals() {
    sigemptyset(&signals_);
    sigaddset(&signals_, SIGTERM);
    sigaddset(&signals_, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
    // A client that closes its HTTP connection must not end the server.
    signal(SIGPIPE, SIG_IGN);
  }

  int Wait() const {
    int number = 0;
    sigwait(&signals_, &number);
    return number;
  }

  /// Whether a signal came within `seconds`.
  bool WaitFor(int seconds) const {
    const timespec timeout = {.tv_sec = seconds, .tv_nsec = 0};
    return sigtimedwait(&signals_, nullptr, &timeout) > 0;
  }

 private:
  sigset_t signals_;
};

// Whoever waits for the file sees the whole of it.
absl::Status WriteReadyFile(const std::string& path, const Server& server) {
  const std::string part = absl::StrCat(path, ".part");
  std::ofstream file(part, std::ios::trunc);
  file << nlohmann::json{{"grpc", server.grpc_address()}, {"http", server.http_address()}}.dump() << "\n";
  file.close();
  if (!file.good() || std::rename(part.c_str(), path.c_str()) != 0) {
    return absl::UnavailableError(absl::StrCat("the ready file can't be written: ", path));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Server>> StartOnce(const ServeCommand& command) {
  if (command.schema == ServeCommand::Schema::kMigrate) {
    PACTORY_RETURN_IF_ERROR(MigrateUp(command.server.database_url));
  }
  return Server::Start(command.server);
}

}  // namespace

absl::Status RunServe(const ServeCommand& command) {
  // Distributions build Abseil so that every lock looks for cycles of locks. The tests want that; a service pays for it in each call.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  const StopSignals signals;
  absl::StatusOr<std::unique_ptr<Server>> server = StartOnce(command);
  while (ReasonOf(server.status()) == "DATABASE_UNAVAILABLE") {
    spdlog::warn("waiting for the database");
    if (signals.WaitFor(kDatabaseRetrySeconds)) return absl::OkStatus();
    server = StartOnce(command);
  }
  PACTORY_RETURN_IF_ERROR(server.status());
  spdlog::info("ready: grpc={} http={} tls={}", (*server)->grpc_address(), (*server)->http_address(),
               command.server.tls_cert_file.empty() ? "no" : "yes");
  if (!command.ready_file.empty()) PACTORY_RETURN_IF_ERROR(WriteReadyFile(command.ready_file, **server));
  const int signal_number = signals.Wait();
  spdlog::info("stopping: signal={}", signal_number);
  (*server)->Stop();
  spdlog::info("stopped");
  return absl::OkStatus();
}

}  // namespace pactory

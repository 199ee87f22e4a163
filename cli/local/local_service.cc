#include "cli/local/local_service.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "cli/client_settings.h"

namespace pactory {
namespace {

namespace fs = std::filesystem;

constexpr absl::Duration kStartTime = absl::Seconds(60);
constexpr absl::Duration kWorkerGrace = absl::Seconds(10);
constexpr absl::Duration kServerGrace = absl::Seconds(20);

std::string ProgramBesideThis(const std::string& name) {
  std::error_code error;
  return (fs::read_symlink("/proc/self/exe", error).parent_path() / name).string();
}

// Says in time, and by its number, that a port is taken; the server's own error comes late and in its log.
absl::Status CheckPortIsFree(const char* flag, int port) {
  if (port == 0) return absl::OkStatus();
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const bool free = bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  close(fd);
  if (free) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(flag, ": port ", port, " is taken by another program; give another, or 0 for a free one"));
}

int PortOf(const std::string& address) {
  int port = 0;
  return absl::SimpleAtoi(address.substr(address.rfind(':') + 1), &port) ? port : 0;
}

absl::Status WritePrivateFile(const std::string& path, const std::string& text) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  const bool written = fd >= 0 && write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  if (fd >= 0) close(fd);
  return written ? absl::OkStatus() : absl::InternalError(absl::StrCat(path, ": the file can't be written"));
}

nlohmann::json DaemonStatus(const Daemon& daemon) {
  const auto pid = daemon.Find();
  return {{"running", pid.has_value()}, {"pid", pid.value_or(0)}, {"log", daemon.log_path()}};
}

}  // namespace

absl::StatusOr<LocalService> LocalService::Open(const std::string& folder) {
  std::error_code error;
  const std::string path = fs::weakly_canonical(folder, error).string();
  for (const char* below : {"run", "logs", "tokens", "workers"}) {
    if (!error) fs::create_directories(absl::StrCat(path, "/", below), error);
  }
  if (error) return absl::InvalidArgumentError(absl::StrCat("--dir: can't be made: ", folder, ": ", error.message()));
  fs::permissions(path + "/tokens", fs::perms::owner_all, error);
  const int lock = open((path + "/run/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock < 0) return absl::InvalidArgumentError(absl::StrCat("--dir: can't be written to: ", path));
  if (flock(lock, LOCK_EX) != 0) return absl::InternalError(absl::StrCat("--dir: can't be locked: ", path));
  auto postgres = PostgresCluster::Locate(path);
  if (!postgres.ok()) {
    close(lock);
    return postgres.status();
  }
  return LocalService(path, lock, *std::move(postgres));
}

LocalService::LocalService(std::string folder, int lock_fd, PostgresCluster postgres)
    : folder_(std::move(folder)), lock_fd_(lock_fd), postgres_(std::move(postgres)) {}

LocalService::LocalService(LocalService&& other) noexcept
    : folder_(std::move(other.folder_)), lock_fd_(other.lock_fd_), postgres_(std::move(other.postgres_)) {
  other.lock_fd_ = -1;
}

LocalService::~LocalService() {
  if (lock_fd_ >= 0) close(lock_fd_);
}

Daemon LocalService::server() const {
  return Daemon("pactory-server", folder_ + "/run/server.pid", folder_ + "/logs/server.log");
}

Daemon LocalService::worker(int number) const {
  return Daemon(absl::StrCat("worker ", number), absl::StrCat(folder_, "/run/worker-", number, ".pid"),
                absl::StrCat(folder_, "/logs/worker-", number, ".log"));
}

std::vector<int> LocalService::KnownWorkers() const {
  std::vector<int> numbers;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder_ + "/workers", error)) {
    int number = 0;
    if (absl::SimpleAtoi(entry.path().filename().string(), &number)) numbers.push_back(number);
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

std::string LocalService::ServerAddressOf(const std::string& protocol) const {
  std::ifstream file(server_ready_file());
  const auto ready = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
  return ready.is_object() ? ready.value(protocol, "") : "";
}

absl::Status LocalService::Up(const LocalOptions& options) {
  PACTORY_RETURN_IF_ERROR(postgres_.Start());
  server().AwaitLastThread();
  if (!server().Find()) PACTORY_RETURN_IF_ERROR(StartServer(options));
  PACTORY_ASSIGN_OR_RETURN(const std::string user_token, EnsureToken("user"));
  PACTORY_RETURN_IF_ERROR(EnsureToken("worker").status());
  ServerAddress address;
  address.target = ServerAddressOf("grpc");
  address.token = user_token;
  PACTORY_RETURN_IF_ERROR(WriteClientConfig(client_config(), address));
  for (int number = 1; number <= options.workers; ++number) {
    if (!worker(number).Find()) PACTORY_RETURN_IF_ERROR(StartWorker(number, options));
  }
  return absl::OkStatus();
}

absl::Status LocalService::StartServer(const LocalOptions& options) {
  // A server that comes back takes its old ports, where its clients look for it; unless others are asked for.
  const int last_grpc = PortOf(ServerAddressOf("grpc")), last_http = PortOf(ServerAddressOf("http"));
  int grpc_port = options.grpc_port, http_port = options.http_port;
  if (grpc_port == 0 && last_grpc > 0 && CheckPortIsFree("--grpc-port", last_grpc).ok()) grpc_port = last_grpc;
  if (http_port == 0 && last_http > 0 && CheckPortIsFree("--http-port", last_http).ok()) http_port = last_http;
  PACTORY_RETURN_IF_ERROR(CheckPortIsFree("--grpc-port", grpc_port));
  PACTORY_RETURN_IF_ERROR(CheckPortIsFree("--http-port", http_port));
  Program program;
  program.argv = {ProgramBesideThis("pactory-server"),
                  "serve",
                  "--database-url",
                  postgres_.Url(),
                  "--listen",
                  absl::StrCat("127.0.0.1:", grpc_port),
                  "--http-listen",
                  absl::StrCat("127.0.0.1:", http_port),
                  "--migrate",
                  "--ready-file",
                  server_ready_file()};
  program.argv.insert(program.argv.end(), options.server_arguments.begin(), options.server_arguments.end());
  return server().Start(program, server_ready_file(), kStartTime);
}

absl::StatusOr<std::string> LocalService::EnsureToken(const std::string& kind) {
  const std::string path = absl::StrCat(folder_, "/tokens/", kind);
  if (fs::exists(path)) return ReadTokenFile(path);
  PACTORY_ASSIGN_OR_RETURN(
      const std::string output,
      RunProgram({{ProgramBesideThis("pactory-server"), "token", "create", "--kind", kind, "--tenant", "default",
                   "--create-tenant", "--name", absl::StrCat("local ", kind), "--log-level", "warning",
                   "--database-url", postgres_.Url()}}));
  for (const absl::string_view line : absl::StrSplit(output, '\n')) {
    if (!absl::StartsWith(line, "pactory_")) continue;
    PACTORY_RETURN_IF_ERROR(WritePrivateFile(path, absl::StrCat(line, "\n")));
    return std::string(line);
  }
  return absl::InternalError("`pactory-server token create` printed no token");
}

absl::Status LocalService::StartWorker(int number, const LocalOptions& options) {
  const std::string folder = absl::StrCat(folder_, "/workers/", number);
  const std::string ready = absl::StrCat(folder_, "/run/worker-", number, ".ready");
  fs::create_directories(folder);
  Program program;
  program.argv = {ProgramBesideThis("pactory-worker"), "--server", ServerAddressOf("grpc"), "--token-file",
                  folder_ + "/tokens/worker", "--cache-dir", folder + "/cache", "--work-dir", folder + "/work",
                  "--ready-file", ready};
  if (!options.python.empty() && !options.runtime_check_script.empty()) {
    program.argv.insert(program.argv.end(),
                        {"--runtime-check", options.python, "--runtime-check", options.runtime_check_script});
  }
  program.argv.insert(program.argv.end(), options.worker_arguments.begin(), options.worker_arguments.end());
  return worker(number).Start(program, ready, kStartTime);
}

absl::Status LocalService::Down() {
  // All are told before any is waited for.
  for (const int number : KnownWorkers()) worker(number).Signal(SIGTERM);
  for (const int number : KnownWorkers()) worker(number).AwaitEnd(kWorkerGrace);
  server().Signal(SIGTERM);
  server().AwaitEnd(kServerGrace);
  return postgres_.Stop();
}

absl::Status LocalService::Delete() {
  PACTORY_RETURN_IF_ERROR(postgres_.Delete());
  std::error_code error;
  for (const char* below : {"workers", "tokens", "logs", "client.yaml", "run"}) {
    if (!error) fs::remove_all(absl::StrCat(folder_, "/", below), error);
  }
  if (!error) fs::remove(folder_, error);
  return error ? absl::InternalError(absl::StrCat(folder_, ": can't be removed: ", error.message())) : absl::OkStatus();
}

nlohmann::json LocalService::Status() const {
  nlohmann::json status = {{"dir", folder_}, {"client_config", client_config()}, {"logs", folder_ + "/logs"}};
  const auto postgres = postgres_.Find();
  status["postgres"] = {{"running", postgres.has_value()}, {"pid", postgres.value_or(0)}, {"url", postgres_.Url()}};
  status["server"] = DaemonStatus(server());
  status["server"]["grpc"] = ServerAddressOf("grpc");
  status["server"]["http"] = ServerAddressOf("http");
  status["workers"] = nlohmann::json::array();
  bool running = postgres.has_value() && server().Find().has_value();
  for (const int number : KnownWorkers()) {
    nlohmann::json worker_status = DaemonStatus(worker(number));
    worker_status["name"] = absl::StrCat("worker ", number);
    running = running && worker_status["running"];
    status["workers"].push_back(std::move(worker_status));
  }
  status["running"] = running && !status["workers"].empty();
  return status;
}

}  // namespace pactory

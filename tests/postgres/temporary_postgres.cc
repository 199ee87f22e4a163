#include "tests/postgres/temporary_postgres.h"

#include <libpq-fe.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace pactory {
namespace {

namespace fs = std::filesystem;

// A crash of the machine is not what these tests are about, and being safe from one costs most of their time; a crash
// of the server alone loses nothing.
constexpr char kSettings[] =
    "-c listen_addresses='' -c fsync=off -c full_page_writes=off -c max_connections=200 "
    "-c shared_buffers=64MB -c log_min_messages=fatal";

// The newest version of Debian's packages, or what stands in PATH.
std::string FindBinDir() {
  std::string best;
  int best_version = 0;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/usr/lib/postgresql", error)) {
    int version = 0;
    if (!absl::SimpleAtoi(entry.path().filename().string(), &version) || version <= best_version) continue;
    if (!fs::exists(entry.path() / "bin" / "initdb")) continue;
    best_version = version;
    best = (entry.path() / "bin").string();
  }
  if (!best.empty()) return best;
  const char* path = std::getenv("PATH");
  std::string rest = path == nullptr ? "" : path;
  while (!rest.empty()) {
    const size_t colon = rest.find(':');
    const std::string folder = rest.substr(0, colon);
    if (fs::exists(fs::path(folder) / "initdb")) return folder;
    rest = colon == std::string::npos ? "" : rest.substr(colon + 1);
  }
  return "";
}

}  // namespace

absl::StatusOr<TemporaryPostgres*> TemporaryPostgres::Get() {
  static std::mutex mutex;
  static std::unique_ptr<TemporaryPostgres> cluster;
  const std::lock_guard<std::mutex> lock(mutex);
  if (cluster != nullptr) return cluster.get();
  const std::string bin_dir = FindBinDir();
  if (bin_dir.empty())
    return absl::FailedPreconditionError(
        "initdb of PostgreSQL must be installed: in /usr/lib/postgresql/*/bin or PATH");
  // A socket's path must fit 107 characters, so the folder is right below the temporary one.
  std::string folder = (fs::temp_directory_path() / "pactory-pg-XXXXXX").string();
  if (mkdtemp(folder.data()) == nullptr) return absl::UnavailableError(absl::StrCat("no temporary folder: ", folder));
  cluster.reset(new TemporaryPostgres(bin_dir, folder));
  const absl::Status status = cluster->Initialize();
  if (!status.ok()) {
    cluster.reset();
    return status;
  }
  return cluster.get();
}

TemporaryPostgres::TemporaryPostgres(std::string bin_dir, std::string folder)
    : bin_dir_(std::move(bin_dir)), folder_(std::move(folder)) {}

TemporaryPostgres::~TemporaryPostgres() {
  // An immediate stop leaves processes behind for a moment, which write into the folder while it is being removed.
  Run(absl::StrCat("pg_ctl -D ", folder_, "/data -w -m fast stop"));
  std::error_code error;
  fs::remove_all(folder_, error);
}

absl::Status TemporaryPostgres::Initialize() {
  if (geteuid() == 0 && std::system(absl::StrCat("chown postgres ", folder_).c_str()) != 0) {
    return absl::FailedPreconditionError("the user `postgres` must exist, for initdb refuses root");
  }
  if (Run(absl::StrCat("initdb -D ", folder_, "/data -U pactory -A trust -E UTF8 --locale=C.UTF-8 --no-sync")) != 0) {
    return absl::InternalError("initdb failed");
  }
  Start();
  return absl::OkStatus();
}

void TemporaryPostgres::Start() {
  const std::string settings = absl::StrCat(kSettings, " -k ", folder_);
  if (Run(absl::StrCat("pg_ctl -D ", folder_, "/data -w -t 60 -l ", folder_, "/log -o \"", settings, "\" start")) !=
      0) {
    std::system(absl::StrCat("tail -20 ", folder_, "/log >&2").c_str());
    std::abort();
  }
}

void TemporaryPostgres::Stop() { Run(absl::StrCat("pg_ctl -D ", folder_, "/data -w -m immediate stop")); }

void TemporaryPostgres::Freeze() { SignalAll(SIGSTOP); }

void TemporaryPostgres::Thaw() { SignalAll(SIGCONT); }

void TemporaryPostgres::SignalAll(int signal) const {
  int postmaster = 0;
  if (!(std::ifstream(folder_ + "/data/postmaster.pid") >> postmaster)) std::abort();
  // First, so that it starts nothing meanwhile.
  kill(postmaster, signal);
  std::ifstream children(absl::StrCat("/proc/", postmaster, "/task/", postmaster, "/children"));
  for (int child = 0; children >> child;) kill(child, signal);
}

int TemporaryPostgres::Run(const std::string& command) const {
  const std::string as_user = geteuid() == 0 ? "setpriv --reuid=postgres --regid=postgres --init-groups " : "";
  return std::system(
      absl::StrCat("cd ", folder_, " && ", as_user, bin_dir_, "/", command, " >>", folder_, "/output 2>&1").c_str());
}

std::string TemporaryPostgres::Url(const std::string& database) const {
  return absl::StrCat("postgresql:///", database, "?host=", folder_, "&user=pactory");
}

absl::StatusOr<std::string> TemporaryPostgres::NewDatabase() {
  const std::string name = absl::StrCat("test_", ++databases_);
  PGconn* connection = PQconnectdb(Url("postgres").c_str());
  PGresult* made = PQexec(connection, absl::StrCat("CREATE DATABASE ", name).c_str());
  const bool done = PQresultStatus(made) == PGRES_COMMAND_OK;
  const std::string problem = PQerrorMessage(connection);
  PQclear(made);
  PQfinish(connection);
  if (!done) return absl::InternalError(problem);
  return Url(name);
}

}  // namespace pactory

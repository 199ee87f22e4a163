#include "cli/local/postgres_cluster.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/sha256.h"
#include "base/status_macros.h"

namespace pactory {
namespace {

namespace fs = std::filesystem;

constexpr char kRole[] = "pactory";
constexpr char kDatabase[] = "pactory";
// The kernel's limit of a socket's path, without the final zero.
constexpr size_t kMaxSocketPath = 107;
constexpr char kSocketName[] = "/.s.PGSQL.5432";

// Folder of the newest PostgreSQL's programs.
absl::StatusOr<std::string> FindPrograms() {
  std::error_code error;
  int newest = -1;
  std::string found;
  for (const auto& entry : fs::directory_iterator("/usr/lib/postgresql", error)) {
    int version = 0;
    if (!absl::SimpleAtoi(entry.path().filename().string(), &version) || version <= newest) continue;
    if (!fs::exists(entry.path() / "bin/initdb", error)) continue;
    newest = version;
    found = (entry.path() / "bin").string();
  }
  if (!found.empty()) return found;
  const char* path = std::getenv("PATH");
  const std::vector<std::string> folders = absl::StrSplit(path == nullptr ? "" : path, ':');
  for (const std::string& folder : folders) {
    if (!folder.empty() && fs::exists(folder + "/initdb", error)) return folder;
  }
  return absl::FailedPreconditionError(
      "PostgreSQL is not installed on this machine; install the package `postgresql`");
}

std::string ShortName(const std::string& folder) { return absl::StrCat("pactory-", Sha256Hex(folder).substr(0, 12)); }

// A folder of its own for the cluster's user, safe from others who may write beside it.
absl::Status MakePrivateFolder(const std::string& path, const std::optional<SystemUser>& user) {
  const uid_t owner = user ? user->uid : getuid();
  if (mkdir(path.c_str(), 0700) == 0) {
    if (user && chown(path.c_str(), user->uid, user->gid) != 0) {
      return absl::InternalError(absl::StrCat(path, ": can't be given to the user ", user->name));
    }
    return absl::OkStatus();
  }
  struct stat info {};
  if (lstat(path.c_str(), &info) != 0) return absl::InternalError(absl::StrCat(path, ": the folder can't be made"));
  if (!S_ISDIR(info.st_mode) || info.st_uid != owner || (info.st_mode & 077) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": must be a folder that only its owner can use; remove it"));
  }
  return absl::OkStatus();
}

std::string ConfQuoted(absl::string_view text) {
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "''"}}), "'");
}

std::string UrlQuoted(absl::string_view text) {
  std::string quoted;
  for (const unsigned char c : text) {
    if (absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.') {
      quoted += static_cast<char>(c);
    } else {
      absl::StrAppendFormat(&quoted, "%%%02X", c);
    }
  }
  return quoted;
}

}  // namespace

absl::StatusOr<PostgresCluster> PostgresCluster::Locate(const std::string& service_folder) {
  PostgresCluster cluster;
  cluster.service_folder_ = service_folder;
  PACTORY_ASSIGN_OR_RETURN(cluster.bin_, FindPrograms());
  cluster.root_ = service_folder + "/postgres";
  if (getuid() == 0) {
    auto user = FindSystemUser("postgres");
    if (!user.ok()) {
      return absl::FailedPreconditionError(
          "PostgreSQL refuses to run as root, and there is no user `postgres`; install the package `postgresql`, or "
          "run as "
          "an ordinary user");
    }
    cluster.user_ = *user;
    std::error_code error;
    if (fs::is_symlink(cluster.root_, error)) {
      cluster.root_ = fs::read_symlink(cluster.root_, error).string();
    } else if (!RunProgram({{"/usr/bin/test", "-x", service_folder}, *user}).ok()) {
      cluster.root_ = absl::StrCat("/var/lib/postgresql/", ShortName(service_folder));
    }
  }
  cluster.socket_folder_ = cluster.root_ + "/socket";
  if (cluster.socket_folder_.size() + sizeof kSocketName - 1 > kMaxSocketPath) {
    cluster.socket_folder_ = absl::StrCat("/tmp/", ShortName(service_folder));
  }
  return cluster;
}

absl::StatusOr<std::string> PostgresCluster::Run(const std::string& program, std::vector<std::string> arguments) const {
  arguments.insert(arguments.begin(), absl::StrCat(bin_, "/", program));
  return RunProgram({std::move(arguments), user_});
}

absl::Status PostgresCluster::MakeFolders() const {
  PACTORY_RETURN_IF_ERROR(MakePrivateFolder(root_, user_));
  PACTORY_RETURN_IF_ERROR(MakePrivateFolder(socket_folder_, user_));
  std::error_code error;
  const std::string link = service_folder_ + "/postgres";
  if (root_ != link && !fs::is_symlink(link, error)) fs::create_symlink(root_, link, error);
  const std::string log_link = service_folder_ + "/logs/postgres.log";
  if (!fs::is_symlink(log_link, error)) fs::create_symlink(log(), log_link, error);
  return absl::OkStatus();
}

absl::Status PostgresCluster::Initialize() const {
  std::error_code error;
  if (fs::exists(data() + "/PG_VERSION", error)) return absl::OkStatus();
  // Nobody but this user reaches the socket, so the connection itself is the proof of identity.
  PACTORY_RETURN_IF_ERROR(Run("initdb", {"--pgdata", data(), "--username", kRole, "--auth", "trust", "--encoding",
                                         "UTF8", "--locale", "C.UTF-8", "--data-checksums", "--no-instructions"})
                              .status());
  std::ofstream file(data() + "/postgresql.conf", std::ios::app);
  file << "include 'pactory.conf'\n";
  return file.flush() ? absl::OkStatus() : absl::InternalError(absl::StrCat(data(), ": can't be written to"));
}

absl::Status PostgresCluster::WriteSettings() const {
  const std::string path = data() + "/pactory.conf";
  std::ofstream file(path);
  file << "listen_addresses = ''\n"
       << "port = 5432\n"
       << "unix_socket_directories = " << ConfQuoted(absl::StrCat("\"", socket_folder_, "\"")) << "\n"
       << "unix_socket_permissions = 0700\n";
  if (!file.flush()) return absl::InternalError(absl::StrCat(path, ": can't be written"));
  if (user_ && chown(path.c_str(), user_->uid, user_->gid) != 0) {
    return absl::InternalError(absl::StrCat(path, ": can't be given to the user ", user_->name));
  }
  return absl::OkStatus();
}

absl::Status PostgresCluster::Start() const {
  if (Find()) return absl::OkStatus();
  PACTORY_RETURN_IF_ERROR(MakeFolders());
  PACTORY_RETURN_IF_ERROR(Initialize());
  PACTORY_RETURN_IF_ERROR(WriteSettings());
  const auto started = Run("pg_ctl", {"start", "--pgdata", data(), "--wait", "--timeout", "60", "--log", log()});
  if (!started.ok()) {
    return absl::InternalError(
        absl::StrCat("PostgreSQL did not start (log: ", log(), "): ", started.status().message()));
  }
  const std::vector<std::string> connect = {"--host", socket_folder_, "--username", kRole};
  std::vector<std::string> query = connect;
  query.insert(query.end(), {"--dbname", "postgres", "-XAtqc",
                             absl::StrCat("SELECT 1 FROM pg_database WHERE datname = '", kDatabase, "'")});
  PACTORY_ASSIGN_OR_RETURN(const std::string exists, Run("psql", query));
  if (!exists.empty()) return absl::OkStatus();
  std::vector<std::string> create = connect;
  create.push_back(kDatabase);
  return Run("createdb", create).status();
}

absl::Status PostgresCluster::Stop() const {
  if (!Find()) return absl::OkStatus();
  return Run("pg_ctl", {"stop", "--pgdata", data(), "--mode", "fast", "--wait", "--timeout", "60"}).status();
}

std::optional<pid_t> PostgresCluster::Find() const {
  std::ifstream file(data() + "/postmaster.pid");
  pid_t pid = 0;
  if (!(file >> pid) || pid <= 0) return std::nullopt;
  std::string name;
  std::ifstream(absl::StrCat("/proc/", pid, "/comm")) >> name;
  if (name != "postgres") return std::nullopt;
  return pid;
}

absl::Status PostgresCluster::Delete() const {
  std::error_code error;
  fs::remove_all(socket_folder_, error);
  fs::remove_all(root_, error);
  fs::remove(service_folder_ + "/postgres", error);
  return error ? absl::InternalError(absl::StrCat(root_, ": can't be removed: ", error.message())) : absl::OkStatus();
}

std::string PostgresCluster::Url() const {
  return absl::StrCat("postgresql://", kRole, "@/", kDatabase, "?host=", UrlQuoted(socket_folder_));
}

}  // namespace pactory

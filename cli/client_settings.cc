#include "cli/client_settings.h"

#include <fcntl.h>
#include <unistd.h>
#include <yaml-cpp/yaml.h>

#include <cstdlib>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace pactory {
namespace {

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string HomeBelow(const char* xdg_variable, const char* fallback) {
  const std::string xdg = Environment(xdg_variable);
  return xdg.empty() ? absl::StrCat(Environment("HOME"), "/", fallback) : xdg;
}

// The file that applies, or "" where there is none.
absl::StatusOr<std::string> FindConfigFile() {
  const std::string named = Environment("PACTORY_CONFIG");
  if (!named.empty()) {
    if (std::filesystem::exists(named)) return named;
    return absl::NotFoundError(absl::StrCat(named, ": the file that PACTORY_CONFIG names must exist"));
  }
  for (const std::string& path : {HomeBelow("XDG_CONFIG_HOME", ".config") + "/pactory/client.yaml",
                                  DefaultLocalFolder() + "/client.yaml"}) {
    std::error_code error;
    if (std::filesystem::exists(path, error)) return path;
  }
  return std::string();
}

}  // namespace

absl::StatusOr<ServerAddress> ReadClientConfig(const std::string& path) {
  ServerAddress address;
  try {
    const YAML::Node root = YAML::LoadFile(path);
    if (!root.IsMap())
      return absl::InvalidArgumentError(absl::StrCat(path, ": must be a YAML map with `server` and `token`"));
    for (const auto& item : root) {
      const std::string key = item.first.as<std::string>();
      if (key == "server") {
        address.target = item.second.as<std::string>();
      } else if (key == "token") {
        address.token = item.second.as<std::string>();
      } else if (key == "tls_ca") {
        address.tls_ca = item.second.as<std::string>();
      } else if (key == "plaintext") {
        address.transport = item.second.as<bool>() ? Transport::kPlaintext : Transport::kAuto;
      } else {
        return absl::InvalidArgumentError(
            absl::StrCat(path, ": ", key, ": unknown; there are server, token, tls_ca and plaintext"));
      }
    }
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a client config: ", error.what()));
  }
  return address;
}

absl::Status WriteClientConfig(const std::string& path, const ServerAddress& address) {
  YAML::Emitter yaml;
  yaml << YAML::BeginMap << YAML::Key << "server" << YAML::Value << address.target << YAML::Key << "token"
       << YAML::Value << address.token;
  if (!address.tls_ca.empty()) yaml << YAML::Key << "tls_ca" << YAML::Value << address.tls_ca;
  if (address.transport == Transport::kPlaintext) yaml << YAML::Key << "plaintext" << YAML::Value << true;
  yaml << YAML::EndMap;
  const std::string text = absl::StrCat(yaml.c_str(), "\n");
  const std::string unfinished = path + ".new";
  const int fd = open(unfinished.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  const bool written = fd >= 0 && write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  if (fd >= 0) close(fd);
  if (!written || rename(unfinished.c_str(), path.c_str()) != 0) {
    return absl::InternalError(absl::StrCat(path, ": the file can't be written"));
  }
  return absl::OkStatus();
}

absl::StatusOr<ServerAddress> FindServer(const ClientFlags& flags) {
  ServerAddress address;
  address.target = flags.server.empty() ? Environment("PACTORY_SERVER") : flags.server;
  address.token = flags.token.empty() ? Environment("PACTORY_TOKEN") : flags.token;
  address.tls_ca = flags.tls_ca.empty() ? Environment("PACTORY_TLS_CA") : flags.tls_ca;
  address.transport = flags.transport;
  // Another server than the file's has nothing to do with the file.
  if (!address.target.empty() && !address.token.empty()) return address;
  PACTORY_ASSIGN_OR_RETURN(const std::string path, FindConfigFile());
  if (!path.empty()) {
    PACTORY_ASSIGN_OR_RETURN(const ServerAddress file, ReadClientConfig(path));
    if (address.target.empty() || address.target == file.target) {
      address.target = file.target;
      if (address.token.empty()) address.token = file.token;
      if (address.tls_ca.empty()) address.tls_ca = file.tls_ca;
      if (file.transport == Transport::kPlaintext) address.transport = file.transport;
    }
  }
  if (address.target.empty()) {
    return absl::FailedPreconditionError(
        "server: none is named; give --server HOST:PORT, set PACTORY_SERVER, or start one with `pactory local up`");
  }
  return address;
}

std::string DefaultLocalFolder() { return HomeBelow("XDG_DATA_HOME", ".local/share") + "/pactory"; }

}  // namespace pactory

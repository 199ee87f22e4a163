#include "client/server_address.h"

#include <grpc/grpc.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace pactory {
namespace {

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": the file can't be opened"));
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

absl::StatusOr<std::string> HostOf(const std::string& target) {
  const size_t colon = target.rfind(':');
  uint32_t port = 0;
  if (colon == std::string::npos || colon == 0 || !absl::SimpleAtoi(target.substr(colon + 1), &port) || port == 0 ||
      port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat("server: must be HOST:PORT: ", target));
  }
  return target.substr(0, colon);
}

bool IsLoopback(absl::string_view host) {
  return host == "localhost" || host == "[::1]" || absl::StartsWith(host, "127.");
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenChannel(const ServerAddress& address) {
  PACTORY_ASSIGN_OR_RETURN(const std::string host, HostOf(address.target));
  // Between calls nobody carries a broken connection on but gRPC's own poll, and that comes every 5 s: a worker whose slots are all busy
  // would be away for longer than a short lease. gRPC reads this when it starts, which it does with a process's first channel.
  setenv("GRPC_CLIENT_CHANNEL_BACKUP_POLL_INTERVAL_MS", "200", /*overwrite=*/0);
  std::shared_ptr<grpc::ChannelCredentials> credentials;
  const bool plain = address.transport == Transport::kPlaintext || (address.tls_ca.empty() && IsLoopback(host));
  if (plain) {
    credentials = grpc::InsecureChannelCredentials();
  } else {
    grpc::SslCredentialsOptions options;
    if (!address.tls_ca.empty()) {
      auto pem = ReadFile(address.tls_ca);
      if (!pem.ok()) return absl::InvalidArgumentError(absl::StrCat("tls-ca: ", pem.status().message()));
      options.pem_root_certs = *std::move(pem);
    }
    credentials = grpc::SslCredentials(options);
  }
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 200);
  // What an attempt to connect may take, not a pause: on a busy host handshakes are slow.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  // A peer that vanished without a word is noticed by pings, also in streams that are quiet for long.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10000);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  return grpc::CreateCustomChannel(address.target, credentials, arguments);
}

void PrepareCall(absl::string_view token, absl::Duration timeout, grpc::ClientContext& context) {
  if (!token.empty()) context.AddMetadata("authorization", absl::StrCat("Bearer ", token));
  if (timeout != absl::InfiniteDuration()) context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
}

absl::StatusOr<std::string> ReadTokenFile(const std::string& path) {
  auto content = ReadFile(path);
  if (!content.ok()) return absl::InvalidArgumentError(absl::StrCat("token-file: ", content.status().message()));
  const std::string token(absl::StripAsciiWhitespace(*content));
  if (token.empty()) return absl::InvalidArgumentError(absl::StrCat("token-file: the file is empty: ", path));
  for (const char c : token) {
    if (!absl::ascii_isgraph(c)) {
      return absl::InvalidArgumentError(absl::StrCat("token-file: the token must be one printable word: ", path));
    }
  }
  return token;
}

}  // namespace pactory

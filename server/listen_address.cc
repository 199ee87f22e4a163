#include "server/listen_address.h"

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace pactory {

absl::StatusOr<ListenAddress> ParseListenAddress(absl::string_view text) {
  const absl::Status bad =
      absl::InvalidArgumentError(absl::StrCat("an address must look like 127.0.0.1:7447 or [::1]:7447: ", text));
  const size_t colon = text.rfind(':');
  ListenAddress address;
  if (colon == absl::string_view::npos || !absl::SimpleAtoi(text.substr(colon + 1), &address.port)) return bad;
  if (address.port < 0 || address.port > 65535) return bad;
  absl::string_view host = text.substr(0, colon);
  if (absl::StartsWith(host, "[") && absl::EndsWith(host, "]")) host = host.substr(1, host.size() - 2);
  if (host.empty()) return bad;
  address.host = std::string(host);
  address.loopback = host == "localhost" || host == "::1" || absl::StartsWith(host, "127.");
  return address;
}

std::string JoinHostPort(absl::string_view host, int port) {
  return absl::StrContains(host, ":") ? absl::StrCat("[", host, "]:", port) : absl::StrCat(host, ":", port);
}

}  // namespace pactory

#include "server/server_credentials.h"

#include <fstream>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "grpcpp/security/tls_certificate_provider.h"
#include "grpcpp/security/tls_credentials_options.h"

namespace pactory {
namespace {

constexpr unsigned kRefreshSeconds = 60;

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(const std::string& cert_file,
                                                                               const std::string& key_file) {
  if (cert_file.empty() && key_file.empty()) return grpc::InsecureServerCredentials();
  if (cert_file.empty() || key_file.empty())
    return absl::InvalidArgumentError("--tls-cert and --tls-key must be given together");
  for (const std::string& file : {cert_file, key_file}) {
    if (!std::ifstream(file).good())
      return absl::InvalidArgumentError(absl::StrCat("the TLS file can't be read: ", file));
  }
  const auto provider =
      std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(key_file, cert_file, kRefreshSeconds);
  grpc::experimental::TlsServerCredentialsOptions options(provider);
  options.watch_identity_key_cert_pairs();
  return grpc::experimental::TlsServerCredentials(options);
}

}  // namespace pactory

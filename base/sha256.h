// SHA-256 over a stream of bytes. Not thread-safe.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

struct evp_md_ctx_st;

namespace pactory {

/// Digest of bytes given piece by piece.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  /// Adds bytes to the digest.
  void Update(absl::string_view bytes);

  /// Returns the digest as 64 lower-case hex digits. The object is spent.
  std::string FinishHex();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

/// Returns the digest of `bytes` as 64 lower-case hex digits.
std::string Sha256Hex(absl::string_view bytes);

/// Returns the digest of a file's content as 64 lower-case hex digits; NOT_FOUND where it can't be opened.
absl::StatusOr<std::string> Sha256HexOfFile(const std::string& path);

/// Whether `text` is a digest in the form FinishHex returns.
bool IsSha256Hex(absl::string_view text);

}  // namespace pactory

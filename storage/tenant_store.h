// Tenants' shares of the workers and their limits, for the operator. Used by `pactory-server tenant`. Thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/database.h"

namespace pactory {

/// A tenant as the operator sees it.
struct TenantInfo {
  std::string name;
  int weight = 1;
  std::optional<int64_t> max_running;
  std::optional<int64_t> max_queued;
  int64_t running = 0;
  int64_t queued = 0;
  /// Moving mean of its attempts' lengths.
  double mean_seconds = 0;
};

/// Takes a limit away, in TenantChange.
inline constexpr int64_t kNoLimit = -1;

/// What changes; the rest stays.
struct TenantChange {
  std::string name;
  std::optional<int> weight;
  /// A number, or kNoLimit.
  std::optional<int64_t> max_running;
  std::optional<int64_t> max_queued;
};

class TenantStore {
 public:
  explicit TenantStore(Database* database) : database_(*database) {}

  /// Returns every tenant, by name.
  absl::StatusOr<std::vector<TenantInfo>> List();

  /// Changes a tenant. NOT_FOUND names one that does not exist.
  absl::Status Change(const TenantChange& change);

 private:
  Database& database_;
};

}  // namespace pactory

// Looks the database over for what needs a person: the schema, the queue's rows, unused blobs, bloat, old transactions.
// Used by `pactory-server doctor`. Thread-safe; changes nothing.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "storage/database.h"

namespace pactory {

/// One thing that was looked at.
struct Finding {
  enum class Level {
    kOk,
    /// Worth a look in working hours.
    kWarning,
    /// Something does not work, or soon will not.
    kProblem,
  };
  /// Like `oldest_transaction`.
  std::string check;
  Level level = Level::kOk;
  /// What was measured, in the unit that `text` names.
  double value = 0;
  /// For people: what was found and, where it is not well, what to do.
  std::string text;
};

/// From where on something is not well.
struct DoctorLimits {
  /// A lease may be over for so long before it was to be taken back.
  absl::Duration lease_overdue = absl::Minutes(2);
  /// Blobs that nothing has used for so long and nothing refers to should be gone.
  absl::Duration unused_blobs = absl::Hours(48);
  absl::Duration oldest_transaction = absl::Minutes(10);
  absl::Duration oldest_queued = absl::Hours(24);
  /// Dead rows of a hot table, beyond twice its live ones.
  int64_t dead_rows = 10000;
  int64_t hot_table_bytes = int64_t{64} << 20;
};

class DoctorStore {
 public:
  explicit DoctorStore(Database* database) : database_(*database) {}

  /// Returns the findings; only that of the schema where it is not this program's. UNAVAILABLE where the database does
  /// not answer.
  absl::StatusOr<std::vector<Finding>> Examine(const DoctorLimits& limits);

 private:
  Database& database_;
};

}  // namespace pactory

// `pactory-server migrate`. Used by main and by `serve --migrate`.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace pactory {

/// Brings the database to this program's schema.
absl::Status MigrateUp(const std::string& database_url);

/// Brings the database down (or up) to a version.
absl::Status MigrateTo(const std::string& database_url, int version);

}  // namespace pactory

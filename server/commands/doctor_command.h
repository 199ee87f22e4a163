// `pactory-server doctor`. Used by main.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace pactory {

/// How findings are printed.
enum class ReportFormat { kText, kJson };

/// Looks the database over and prints the findings to standard output. FAILED_PRECONDITION where one is a problem;
/// warnings alone are OK.
absl::Status RunDoctor(const std::string& database_url, ReportFormat format);

}  // namespace pactory

// `pactory-server gc`. Used by main.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "server/commands/doctor_command.h"
#include "storage/retention_store.h"

namespace pactory {

/// Removes once what a server's sweep removes from time to time, and prints how much went.
absl::Status RunGc(const std::string& database_url, const RetentionSettings& settings, ReportFormat format);

}  // namespace pactory

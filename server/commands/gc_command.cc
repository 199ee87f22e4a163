#include "server/commands/gc_command.h"

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/status_macros.h"
#include "storage/database.h"

namespace pactory {

absl::Status RunGc(const std::string& database_url, const RetentionSettings& settings, ReportFormat format) {
  PACTORY_ASSIGN_OR_RETURN(const std::unique_ptr<Database> database,
                           Database::Open({.url = database_url, .pool_size = 1}));
  BlobChunks chunks(database->connection_string(), 1);
  BlobStore blobs(database.get(), &chunks);
  PACTORY_ASSIGN_OR_RETURN(const SweepReport report, RetentionStore(database.get(), &blobs).Sweep(settings));
  const nlohmann::ordered_json removed = {{"jobs", report.jobs},   {"metric_days", report.metric_days},
                                          {"events", report.events}, {"blobs", report.blobs},
                                          {"checkpoints", report.checkpoints}, {"workers", report.workers}};
  if (format == ReportFormat::kJson) {
    std::printf("%s\n", nlohmann::ordered_json{{"removed", removed}}.dump(2).c_str());
    return absl::OkStatus();
  }
  for (const auto& [kind, count] : removed.items())
    std::printf("%-12s %s removed\n", kind.c_str(), count.dump().c_str());
  return absl::OkStatus();
}

}  // namespace pactory

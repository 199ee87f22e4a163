#include "workers/trainer/job_error.h"

#include <set>
#include <string>

#include "base/error.h"

namespace pactory {
namespace {

std::string ReasonFor(const absl::Status& status) {
  static const std::set<std::string> kReasons = {"BAD_MODEL",   "BAD_DATA",      "BAD_CONFIG", "UNSUPPORTED_OP",
                                                 "GATE_FAILED", "OUT_OF_MEMORY", "DISK_FULL",  "INTERNAL"};
  if (absl::IsResourceExhausted(status)) return "OUT_OF_MEMORY";
  const std::string reason = ReasonOf(status);
  if (kReasons.contains(reason)) return reason;
  if (!FieldOf(status).empty()) return "BAD_CONFIG";
  return "INTERNAL";
}

}  // namespace

v1::JobError ToJobError(const absl::Status& status) {
  v1::JobError error;
  error.set_reason(ReasonFor(status));
  error.set_message(std::string(status.message()));
  return error;
}

}  // namespace pactory

#include "server/commands/doctor_command.h"

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "storage/database.h"
#include "storage/doctor_store.h"

namespace pactory {
namespace {

const char* NameOf(Finding::Level level) {
  switch (level) {
    case Finding::Level::kOk:
      return "ok";
    case Finding::Level::kWarning:
      return "warning";
    case Finding::Level::kProblem:
      break;
  }
  return "problem";
}

void PrintText(const std::vector<Finding>& findings) {
  for (const Finding& finding : findings)
    std::printf("%-8s  %-20s  %s\n", NameOf(finding.level), finding.check.c_str(), finding.text.c_str());
}

void PrintJson(const std::vector<Finding>& findings, bool healthy) {
  nlohmann::json checks = nlohmann::json::array();
  for (const Finding& finding : findings) {
    checks.push_back({{"check", finding.check},
                      {"level", NameOf(finding.level)},
                      {"value", finding.value},
                      {"text", finding.text}});
  }
  // What a client of the database calls itself may be any bytes.
  const nlohmann::json report = {{"healthy", healthy}, {"checks", checks}};
  std::printf("%s\n", report.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
}

}  // namespace

absl::Status RunDoctor(const std::string& database_url, ReportFormat format) {
  PACTORY_ASSIGN_OR_RETURN(const std::unique_ptr<Database> database,
                           Database::Open({.url = database_url, .pool_size = 1}));
  PACTORY_ASSIGN_OR_RETURN(const std::vector<Finding> findings, DoctorStore(database.get()).Examine(DoctorLimits()));
  std::vector<std::string> problems;
  for (const Finding& finding : findings) {
    if (finding.level == Finding::Level::kProblem) problems.push_back(finding.check);
  }
  if (format == ReportFormat::kJson) {
    PrintJson(findings, problems.empty());
  } else {
    PrintText(findings);
  }
  if (problems.empty()) return absl::OkStatus();
  std::string names;
  for (const std::string& problem : problems) absl::StrAppend(&names, names.empty() ? "" : ", ", problem);
  return absl::FailedPreconditionError(absl::StrCat("these need a person: ", names));
}

}  // namespace pactory

// A report as JSON, in the schema of docs/report.md. Stateless.
#pragma once

#include <string>

#include "quant/report/report.h"

namespace pactory::quant {

/// Returns the content of report.json. What was not measured is null.
std::string ReportToJson(const Report& report);

}  // namespace pactory::quant

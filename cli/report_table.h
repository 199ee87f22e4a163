// The numbers of a report.json as a table for people. Used by `run`. Stateless.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace pactory {

/// Returns a table of the report's stages, sizes and latencies; "" where the text is no report. What a report lacks is
/// left out.
std::string ReportTable(absl::string_view report_json);

}  // namespace pactory

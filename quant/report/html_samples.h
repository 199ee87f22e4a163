// The parts of report.html that look at single samples: what changed between the models, and whether by chance. Used by
// report_html.cc alone. Stateless.
#pragma once

#include <string>

#include "quant/report/report.h"

namespace pactory::quant {

/// Each returns one <section>, or "" where nothing was measured.
std::string ComparisonSection(const Report& report);
std::string ClassSection(const Report& report);
std::string FlipSection(const Report& report);

}  // namespace pactory::quant

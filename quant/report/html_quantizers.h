// The part of report.html that shows the activation quantizers: a table, and each tensor's values against the ends of its grid.
// Used by report_html.cc alone. Stateless.
#pragma once

#include <string>

#include "quant/report/report.h"

namespace pactory::quant {

/// Returns the <section>s.
std::string QuantizerSections(const Report& report);

}  // namespace pactory::quant

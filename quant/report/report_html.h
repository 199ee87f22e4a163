// A report as one self-contained page. Stateless.
#pragma once

#include <string>

#include "quant/report/report.h"

namespace pactory::quant {

/// Returns the content of report.html: no scripts, no references to other files or hosts.
std::string ReportToHtml(const Report& report);

}  // namespace pactory::quant

// The result of a job as a table for people. Used by the quantize subcommand. Stateless.
#pragma once

#include <string>

#include "quant/report/report.h"

namespace pactory {

/// Returns lines of the report's rows (FP32, PTQ, plain QAT, trained, deployed) with accuracy, interval, size and latency.
std::string FormatResultTable(const quant::Report& report);

}  // namespace pactory

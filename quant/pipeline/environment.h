// What a job runs on, for its report. Stateless.
#pragma once

#include <c10/core/Device.h>

#include "quant/report/report.h"

namespace pactory::quant {

/// Returns versions, processor, threads and device.
EnvironmentReport DescribeEnvironment(at::Device device);

}  // namespace pactory::quant

#include "quant/pipeline/environment.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <torch/headeronly/version.h>

#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/version.h"
#include "quant/pipeline/device.h"

namespace pactory::quant {
namespace {

std::string CpuModel() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("model name", 0) != 0) continue;
    const size_t colon = line.find(':');
    if (colon == std::string::npos) break;
    return std::string(absl::StripAsciiWhitespace(line.substr(colon + 1)));
  }
  return "unknown";
}

}  // namespace

EnvironmentReport DescribeEnvironment(at::Device device) {
  return {.pactory_version = kVersion,
          .libtorch_version = TORCH_VERSION,
          .cpu = CpuModel(),
          .threads = at::get_num_threads(),
          .device = DeviceName(device),
          .device_class = device.is_cuda() ? "CUDA" : absl::StrCat("CPU ", at::get_cpu_capability())};
}

}  // namespace pactory::quant

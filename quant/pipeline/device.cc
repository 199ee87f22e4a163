#include "quant/pipeline/device.h"

#include <ATen/Context.h>
#include <dlfcn.h>

#include "base/error.h"

namespace pactory::quant {

bool CudaIsUsable() {
  // The library registers its kernels when it is loaded; a CPU host has no driver and often no library.
  static const bool usable = [] {
    if (dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr) return false;
    try {
      return at::globalContext().hasCUDA() && at::globalContext().getAcceleratorHooksInterface(at::kCUDA).deviceCount() > 0;
    } catch (const std::exception&) {
      return false;
    }
  }();
  return usable;
}

absl::StatusOr<at::Device> ChooseDevice(v1::QuantizationConfig::Device wanted) {
  if (wanted == v1::QuantizationConfig::CPU) return at::Device(at::kCPU);
  if (CudaIsUsable()) return at::Device(at::kCUDA, 0);
  if (wanted == v1::QuantizationConfig::CUDA) {
    return WithReason(absl::FailedPreconditionError(
                          "device is CUDA, but this host has none that LibTorch can use; set device to AUTO or CPU"),
                      "BAD_CONFIG");
  }
  return at::Device(at::kCPU);
}

std::string DeviceName(at::Device device) { return device.str(); }

}  // namespace pactory::quant

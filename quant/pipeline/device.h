// Where training runs. Stateless.
#pragma once

#include <c10/core/Device.h>

#include <string>

#include "absl/status/statusor.h"
#include "pactory/v1/quantization.pb.h"

namespace pactory::quant {

/// Returns the device for a config: AUTO is CUDA where LibTorch's CUDA library loads and sees a device, else the CPU.
/// FAILED_PRECONDITION where CUDA is asked for and absent.
absl::StatusOr<at::Device> ChooseDevice(v1::QuantizationConfig::Device wanted);

/// Loads LibTorch's CUDA library where it is there; whether a device can be used.
bool CudaIsUsable();

/// Returns `cpu` or `cuda:0`.
std::string DeviceName(at::Device device);

}  // namespace pactory::quant

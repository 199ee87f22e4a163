// Defaults and limits of a quantization config, the same for the CLI, the server and the trainer. Stateless.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "pactory/v1/quantization.pb.h"

namespace pactory {

/// Bits that stand for float, in `mixed_precision.sensitive_bits` and in overrides.
inline constexpr int32_t kFloatBits = 32;

/// Fills every absent field with the default that quantization.proto names.
void FillDefaults(v1::QuantizationConfig& config);

/// Checks a config whose defaults are filled in; INVALID_ARGUMENT names the first field that breaks its limits.
absl::Status ValidateConfig(const v1::QuantizationConfig& config);

}  // namespace pactory

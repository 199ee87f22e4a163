// Which integers a quantized value may take. Used by the quantizers, calibration and the exporter. Stateless.
#pragma once

#include <cstdint>

#include "pactory/v1/quantization.pb.h"
#include "quant/kernels/fake_quantize.h"

namespace pactory::quant {

/// Whether a grid reaches below zero, and then whether as far as above it or, kSignedFull, one step further.
enum class Signedness { kSigned, kUnsigned, kSignedFull };

/// Returns [-(2^(bits-1) - 1), 2^(bits-1) - 1], [-2^(bits-1), 2^(bits-1) - 1] where that is full, or [0, 2^bits - 1] for tensors that
/// can't be negative.
Grid ActivationGrid(int64_t bits, Signedness signedness);

/// Returns the largest integer of a symmetric weight grid: 2^(bits-1) - 1, and 63 for 8 bits at REDUCED range.
int64_t WeightSteps(int64_t bits, v1::WeightConfig::WeightRange range);

/// Returns the zero point of an activation stored as uint8: 0 for a grid that starts there, 128 for one symmetric around it (the
/// same for all, so that they share a constant), -qmin for any other.
int64_t StoredZeroPoint(Grid grid);

/// Replaces AUTO: REDUCED unless the target is declared free of 16-bit pair saturation.
v1::WeightConfig::WeightRange ResolveWeightRange(const v1::QuantizationConfig& config);

/// Returns the range of weights whose layers are computed in float, where no pair of products can saturate: FULL for AUTO.
v1::WeightConfig::WeightRange RangeInFloat(const v1::QuantizationConfig& config);

}  // namespace pactory::quant

#include "quant/quantizers/grid.h"

namespace pactory::quant {

Grid ActivationGrid(int64_t bits, Signedness signedness) {
  if (signedness == Signedness::kUnsigned) return {0, (int64_t{1} << bits) - 1};
  const int64_t steps = (int64_t{1} << (bits - 1)) - 1;
  return {signedness == Signedness::kSignedFull ? -steps - 1 : -steps, steps};
}

int64_t WeightSteps(int64_t bits, v1::WeightConfig::WeightRange range) {
  // Fewer than 8 bits can't overflow 16-bit pair sums, so the range matters for 8 alone.
  if (bits == 8 && range != v1::WeightConfig::FULL) return 63;
  return (int64_t{1} << (bits - 1)) - 1;
}

int64_t StoredZeroPoint(Grid grid) {
  if (grid.qmin == 0) return 0;
  return grid.qmin == -grid.qmax ? 128 : -grid.qmin;
}

v1::WeightConfig::WeightRange ResolveWeightRange(const v1::QuantizationConfig& config) {
  const auto range = config.weights().range();
  if (range == v1::WeightConfig::FULL || range == v1::WeightConfig::REDUCED) return range;
  if (config.export_().profile() == v1::ExportConfig::TENSORRT) return v1::WeightConfig::FULL;
  switch (config.export_().target()) {
    case v1::ExportConfig::X86_VNNI:
    case v1::ExportConfig::ARM:
    case v1::ExportConfig::GPU:
      return v1::WeightConfig::FULL;
    default:
      return v1::WeightConfig::REDUCED;
  }
}

v1::WeightConfig::WeightRange RangeInFloat(const v1::QuantizationConfig& config) {
  return config.weights().range() == v1::WeightConfig::REDUCED ? v1::WeightConfig::REDUCED : v1::WeightConfig::FULL;
}

}  // namespace pactory::quant

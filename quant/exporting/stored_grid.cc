#include "quant/exporting/stored_grid.h"

namespace pactory::quant {
namespace {

// Between uint8 and int8.
constexpr int64_t kSignedShift = 128;

bool IsSignedType(int64_t unsigned_zero_point, const v1::ExportConfig& config) {
  switch (config.profile()) {
    case v1::ExportConfig::TENSORRT: return true;
    case v1::ExportConfig::OPENVINO: return unsigned_zero_point == kSignedShift;
    default: return config.activation_type() == v1::ExportConfig::INT8;
  }
}

}  // namespace

bool StoredGrid::fills_type() const {
  return type == at::kByte ? low == 0 && high == 255 : low == -128 && high == 127;
}

StoredGrid StoreGrid(Grid grid, const v1::ExportConfig& config) {
  const int64_t unsigned_zero_point = StoredZeroPoint(grid);
  const bool is_signed = IsSignedType(unsigned_zero_point, config);
  const int64_t zero_point = unsigned_zero_point - (is_signed ? kSignedShift : 0);
  return {.type = is_signed ? at::kChar : at::kByte,
          .zero_point = zero_point,
          .low = zero_point + grid.qmin,
          .high = zero_point + grid.qmax};
}

}  // namespace pactory::quant

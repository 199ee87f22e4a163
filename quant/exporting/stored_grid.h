// How the integers of an activation's grid stand in the file. Used by the exporter and the report. Stateless.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>

#include "pactory/v1/quantization.pb.h"
#include "quant/quantizers/grid.h"

namespace pactory::quant {

/// One grid, moved to where its type holds it.
struct StoredGrid {
  /// at::kByte or at::kChar.
  at::ScalarType type;
  int64_t zero_point;
  /// Ends of the grid as stored.
  int64_t low;
  int64_t high;

  /// Whether the ends are those of the type, so that QuantizeLinear's saturation keeps to the grid.
  bool fills_type() const;
};

/// Returns the form that a profile wants: uint8 for ORT_CPU and QOPERATOR (int8 where `activation_type` says so), int8 for TENSORRT,
/// and for OPENVINO int8 where the zero point is then 0, else uint8.
StoredGrid StoreGrid(Grid grid, const v1::ExportConfig& config);

}  // namespace pactory::quant

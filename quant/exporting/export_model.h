// Writes a trained model as an ONNX file for its runtime. Used by the pipeline. Stateless.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "quant/exporting/size_breakdown.h"
#include "quant/passes/insert_quantizers.h"
#include "quant/quantizers/quantized_model.h"

namespace pactory::quant {

/// A file ready to be written.
struct ExportedModel {
  /// Serialized ONNX ModelProto.
  std::string bytes;
  SizeBreakdown sizes;
  /// What differs from the trained model, for the report.
  std::vector<std::string> warnings;
};

/// Exports a model in profile `ort_cpu` (docs/export_ort_cpu.md).
absl::StatusOr<ExportedModel> ExportModel(QuantizedModel& model, const QuantizationPlan& plan);

}  // namespace pactory::quant

// Writes a trained model as an ONNX file for its runtime. Used by the pipeline. Stateless.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "pactory/v1/quantization.pb.h"
#include "quant/exporting/layer_storage.h"
#include "quant/exporting/size_breakdown.h"
#include "quant/passes/insert_quantizers.h"
#include "quant/quantizers/quantized_model.h"

namespace pactory::quant {

/// A file ready to be written.
struct ExportedModel {
  /// Serialized ONNX ModelProto.
  std::string bytes;
  SizeBreakdown sizes;
  /// By the name of the layer's node in the graph that was trained.
  std::map<std::string, LayerStorage> layers;
  /// Channels of a weight, by its name, whose scale was raised because their bias did not fit 32 bits.
  std::map<std::string, int64_t> raised_channels;
  /// What differs from the trained model, for the report.
  std::vector<std::string> warnings;
};

/// Exports a model whose quantizers were placed for `config.profile` (docs/export_profiles.md).
absl::StatusOr<ExportedModel> ExportModel(QuantizedModel& model, const QuantizationPlan& plan, const v1::ExportConfig& config);

}  // namespace pactory::quant

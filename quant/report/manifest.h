// What is needed to run a job again and to tell whether the same came out: manifest.json (docs/report.md). Written by the
// pipeline, read by `pactory-trainer replay`. Stateless.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "pactory/v1/quantization.pb.h"
#include "quant/report/report.h"

namespace pactory::quant {

/// SHA-256 sums as 64 hex digits.
struct Manifest {
  /// `jobs/{id}`; "" without a service.
  std::string job;
  std::string model_sha256;
  std::string train_data_sha256;
  std::string eval_data_sha256;
  /// Of model.int8.onnx and report.json.
  std::string output_sha256;
  std::string report_sha256;
  /// Name and version of the runtime that checked the file; "" without a check.
  std::string runtime;
  EnvironmentReport environment;
  /// Complete.
  v1::QuantizationConfig config;
};

/// Returns the file's content.
std::string ManifestToJson(const Manifest& manifest);

/// Reads a file's content. INVALID_ARGUMENT names the field that is missing or wrong.
absl::StatusOr<Manifest> ParseManifest(absl::string_view text);

}  // namespace pactory::quant

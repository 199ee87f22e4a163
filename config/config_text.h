// Quantization configs as text: YAML and JSON to the proto and back. Used by the CLI and the trainer. Stateless.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "pactory/v1/quantization.pb.h"

namespace pactory {

/// Reads a config from YAML or JSON (JSON is YAML too). An unknown field or a value of the wrong type gives
/// INVALID_ARGUMENT that names it.
absl::StatusOr<v1::QuantizationConfig> ParseConfig(absl::string_view text);

/// Sets one field by its path, as of `--set training.steps=100`; INVALID_ARGUMENT names an unknown path or a bad value.
absl::Status SetConfigField(v1::QuantizationConfig& config, absl::string_view assignment);

/// Writes a config as JSON with the field names of the proto.
std::string ConfigToJson(const v1::QuantizationConfig& config);

/// Writes a config as YAML with the field names of the proto.
std::string ConfigToYaml(const v1::QuantizationConfig& config);

}  // namespace pactory

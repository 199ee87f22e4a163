// PaddleSlim's quantization configs as ours: static `quant_aware`, dygraph `QAT`, and the `QAT` and `QuantAware` sections of
// PaddleDetection's and ACT's files. Used by the CLI. Stateless.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "pactory/v1/quantization.pb.h"

namespace pactory {

/// A config that came from elsewhere.
struct ConvertedConfig {
  /// What the source says; defaults are not filled in.
  v1::QuantizationConfig config;
  /// One sentence for each key that has no counterpart here or means something else.
  std::vector<std::string> notes;
};

/// Converts YAML, JSON or the text of a Python dict (`quant_config = {...}` too). INVALID_ARGUMENT names a key that PaddleSlim does
/// not have, a value it does not take, or one that is not supported here.
absl::StatusOr<ConvertedConfig> ConvertPaddleSlim(absl::string_view text);

}  // namespace pactory

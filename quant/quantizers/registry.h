// The table of quantization methods. Each method is one file with one registration; whoever lists or makes quantizers reads
// this table. Sealed at load time, thread-safe after.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "quant/quantizers/quantizer.h"

namespace pactory::quant {

/// What is known of one method.
struct QuantizerDefinition {
  v1::QuantizerMethod method = v1::QUANTIZER_METHOD_UNSPECIFIED;
  std::string doc;
  /// What the method serves.
  std::vector<QuantizerTarget> targets;
  /// Whether `activations.alpha.init` may say where the range starts.
  bool learns_range = false;
  /// Whether a signed tensor's range has two ends: `low` and `threshold` of the spec.
  bool affine = false;
  std::function<std::unique_ptr<Quantizer>(const QuantizerSpec&)> make;
};

/// Puts a definition into the table; a static object of each method's file.
class QuantizerRegistration {
 public:
  explicit QuantizerRegistration(QuantizerDefinition definition);
};

/// Returns every definition in the order of the enum.
std::vector<const QuantizerDefinition*> AllQuantizers();

/// Returns the definition of a method, or null.
const QuantizerDefinition* FindQuantizer(v1::QuantizerMethod method);

/// Makes a quantizer. INVALID_ARGUMENT where the spec's method is not a quantizer or its values are out of range; the
/// message names the quantizer.
absl::StatusOr<std::unique_ptr<Quantizer>> MakeQuantizer(const QuantizerSpec& spec);

}  // namespace pactory::quant

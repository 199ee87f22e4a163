// A quantized model as another runtime would compute it: whether roundings near the middle of two steps change its answers. Used by the
// choice of precision. Stateless.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "quant/quantizers/quantized_model.h"

namespace pactory::quant {

/// Returns the quantized model of `graph` with each activation moved, in front of its quantizer, by up to a millionth of each value, anew in
/// every run: about what the order of a float sum changes (125 dB below the signal). Graph inputs are the same everywhere and stay.
absl::StatusOr<std::unique_ptr<QuantizedModel>> MakeMovedModel(Graph graph, const std::vector<QuantizerSpec>& specs);

}  // namespace pactory::quant

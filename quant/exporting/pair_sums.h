// What 16-bit pair sums do to a layer. Integer kernels of x86-64 CPUs without VNNI multiply unsigned activations by signed weights
// with VPMADDUBSW, which adds two neighbouring products in 16 bits and saturates; with weights of 7 bits no pair passes them.
// Used by the pipeline to choose the range of each layer's weights. Stateless.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "quant/graph/graph.h"

namespace pactory::quant {

/// The stored integers that a layer's input takes, by input channel (axis 1 of a Conv's input, the last of a matrix product's).
struct StoredRange {
  /// float, one per channel.
  at::Tensor low;
  at::Tensor high;
};

/// Returns the least and largest of `values`, the stored integers of a batch, by input channel of `layer`.
StoredRange RangeByChannel(const Node& layer, const at::Tensor& values);

/// Returns the largest sum of two neighbouring products that inputs within `range` can make, as a share of what 16 bits hold:
/// above 1 the sum saturates. `weight`: int8, as the layer has it. Neighbours are those of ONNX Runtime's kernels (MLAS): a Conv
/// runs over kernel height, kernel width, input channels of its group, a matrix product over its inner axis. `padding` is the
/// stored integer of a padded 0.
/// 0 for ops and Convs that no such kernel computes: depthwise ones add in 32 bits.
double LargestPairSum(const Node& layer, const at::Tensor& weight, const StoredRange& range, int64_t padding);

}  // namespace pactory::quant

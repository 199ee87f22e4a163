// The inner loops of chains of elementwise ops on CPU memory: a piece of the data goes through all ops while it lies in the
// first-level cache, so memory is read and written once for the whole chain. Compiled for several instruction sets, run on
// LibTorch's threads. Used by pointwise_chain.cc alone. Thread-safe; results do not depend on the number of threads.
#pragma once

#include <cstdint>
#include <vector>

#include "quant/kernels/pointwise_chain.h"

namespace pactory::quant {

/// Where the value of a second operand stands for element e of the first, which has `channels` channels of `plane` elements.
enum class OperandLayout {
  /// At e.
  kSame,
  /// At e / plane: one value for each sample and channel, the first operand lies in planes.
  kPerPlane,
  /// At e / (channels * plane) * channels + e % channels: the same, the first operand lies in channels_last.
  kPerPixel,
};

/// One op of a chain, as its loop needs it.
struct StageLoop {
  const PointwiseStage* op = nullptr;
  /// kAdd, kMultiply.
  const float* operand = nullptr;
  OperandLayout layout = OperandLayout::kSame;
};

/// The data of a chain.
struct ChainShape {
  int64_t count = 0;
  int64_t channels = 1;
  int64_t plane = 1;
  /// Elements that one task takes at once. A whole sample where an operand has a value for each channel.
  int64_t run = 0;
};

/// Sums of the gradient that reaches one kFakeQuantize: over the elements that it cut off, and over the others of
/// dy * (round_half_even(v / scale) - v / scale).
struct StageSums {
  double above = 0;
  double below = 0;
  double rounding = 0;
};

/// What became of an element on its way: 0, or cut off, last by stage k: 2k + 1 above, 2k + 2 below.
using CutCode = uint8_t;

/// Runs x through the stages to y. `codes`, where not null, receives the last stage that cut each element off; then no stage may
/// be kHardSwish or kMultiply. `y` may be `x`.
void ChainForwardLoop(const float* x, float* y, CutCode* codes, const ChainShape& shape, const std::vector<StageLoop>& stages);

/// Where gradients go. Every pointer may be null: not wanted. `dx` may be the upstream gradient's memory.
struct ChainGradients {
  float* dx = nullptr;
  /// By stage: the gradient of its operand.
  std::vector<float*> operands;
  /// By stage.
  std::vector<StageSums> sums;
};

/// Gradients of a chain that ChainForwardLoop gave codes for; `rounding` stays 0, the operands have the layout kSame.
void ChainBackwardByCodes(const float* dy, const CutCode* codes, const ChainShape& shape, const std::vector<StageLoop>& stages,
                          ChainGradients& gradients);

/// Gradients of any chain, whose values are worked out anew from x.
void ChainBackwardByValues(const float* dy, const float* x, const ChainShape& shape, const std::vector<StageLoop>& stages,
                           ChainGradients& gradients);

}  // namespace pactory::quant

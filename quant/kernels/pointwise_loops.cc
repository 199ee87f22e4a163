#include "quant/kernels/pointwise_loops.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "quant/kernels/vector_clones.h"

namespace pactory::quant {
namespace {

// Elements that go through all stages together: a few tiles of floats fit the first-level cache.
constexpr int kTile = 1024;

PACTORY_VECTOR_CLONES void FakeQuantizeTile(const float* v, float* y, int count, float scale, float first, float last) {
  for (int i = 0; i < count; ++i) y[i] = OnGrid(v[i], scale, first, last);
}

PACTORY_VECTOR_CLONES void ClipTile(const float* v, float* y, int count, float first, float last) {
  for (int i = 0; i < count; ++i) y[i] = ClampKeepingNan(v[i], first, last);
}

PACTORY_VECTOR_CLONES void HardSwishTile(const float* v, float* y, int count) {
  for (int i = 0; i < count; ++i) y[i] = v[i] * ClampKeepingNan(v[i] + 3.0f, 0.0f, 6.0f) / 6.0f;
}

PACTORY_VECTOR_CLONES void AddTile(const float* v, const float* operand, float* y, int count) {
  for (int i = 0; i < count; ++i) y[i] = v[i] + operand[i];
}

PACTORY_VECTOR_CLONES void MultiplyTile(const float* v, const float* operand, float* y, int count) {
  for (int i = 0; i < count; ++i) y[i] = v[i] * operand[i];
}

PACTORY_VECTOR_CLONES void MarkCuts(const float* v, int32_t* codes, int count, float lower, float upper, int32_t above, int32_t below) {
  for (int i = 0; i < count; ++i) {
    const int32_t code = v[i] < lower ? below : codes[i];
    codes[i] = v[i] >= upper ? above : code;
  }
}

PACTORY_VECTOR_CLONES void NarrowCodes(const int32_t* codes, CutCode* narrow, int count) {
  for (int i = 0; i < count; ++i) narrow[i] = static_cast<CutCode>(codes[i]);
}

PACTORY_VECTOR_CLONES void WidenCodes(const CutCode* narrow, int32_t* codes, int count) {
  for (int i = 0; i < count; ++i) codes[i] = narrow[i];
}

// Sums of dy where the code is `above` and where it is `below`.
PACTORY_VECTOR_CLONES void SumCuts(const float* dy, const int32_t* codes, int count, int32_t above, int32_t below, float* sums) {
  float over[kLanes] = {};
  float under[kLanes] = {};
  int i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      // Read whatever the code: a read that depends on it would keep the compiler from vectorizing.
      const float gradient = dy[i + lane];
      const int32_t code = codes[i + lane];
      over[lane] += code == above ? gradient : 0.0f;
      under[lane] += code == below ? gradient : 0.0f;
    }
  }
  for (; i < count; ++i) {
    over[0] += codes[i] == above ? dy[i] : 0.0f;
    under[0] += codes[i] == below ? dy[i] : 0.0f;
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    sums[0] += over[lane];
    sums[1] += under[lane];
  }
}

// to = dy where the code is at most `most`, else 0.
PACTORY_VECTOR_CLONES void PassUncut(const float* dy, const int32_t* codes, float* to, int count, int32_t most) {
  for (int i = 0; i < count; ++i) to[i] = codes[i] <= most ? dy[i] : 0.0f;
}

// g becomes the gradient before the fake quantization of v; the sums are those of StageSums.
PACTORY_VECTOR_CLONES void FakeQuantizeGradientTile(float* g, const float* v, int count, float scale, float lower, float upper,
                                                    float* sums) {
  float above[kLanes] = {};
  float below[kLanes] = {};
  float rounding[kLanes] = {};
  int i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const float value = v[i + lane];
      const float gradient = g[i + lane];
      const float steps = ClampKeepingNan(value, lower, upper) / scale;
      const float inside = (value >= lower) & (value < upper) ? gradient : 0.0f;
      above[lane] += value >= upper ? gradient : 0.0f;
      below[lane] += value < lower ? gradient : 0.0f;
      rounding[lane] += inside * (RoundedHalfToEven(steps) - steps);
      g[i + lane] = inside;
    }
  }
  for (; i < count; ++i) {
    const float steps = ClampKeepingNan(v[i], lower, upper) / scale;
    const float inside = v[i] >= lower && v[i] < upper ? g[i] : 0.0f;
    above[0] += v[i] >= upper ? g[i] : 0.0f;
    below[0] += v[i] < lower ? g[i] : 0.0f;
    rounding[0] += inside * (RoundedHalfToEven(steps) - steps);
    g[i] = inside;
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    sums[0] += above[lane];
    sums[1] += below[lane];
    sums[2] += rounding[lane];
  }
}

PACTORY_VECTOR_CLONES void ClipGradientTile(float* g, const float* v, int count, float lower, float upper) {
  for (int i = 0; i < count; ++i) g[i] = (v[i] >= lower) & (v[i] < upper) ? g[i] : 0.0f;
}

PACTORY_VECTOR_CLONES void HardSwishGradientTile(float* g, const float* v, int count) {
  for (int i = 0; i < count; ++i) {
    const float inner = g[i] * (v[i] / 3.0f + 0.5f);
    const float outer = v[i] >= 3.0f ? g[i] : inner;
    g[i] = v[i] <= -3.0f ? 0.0f : outer;
  }
}

PACTORY_VECTOR_CLONES void AddToDoubles(double* to, const float* from, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] += from[i];
}

PACTORY_VECTOR_CLONES float SumTile(const float* v, int64_t count) {
  float sums[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) sums[lane] += v[i + lane];
  }
  float result = 0;
  for (; i < count; ++i) result += v[i];
  for (const float sum : sums) result += sum;
  return result;
}

// Calls body(offset in the tile, length, first index of the operand) for each stretch of a tile within which the operand's index
// stays (kPerPlane) or goes along (kPerPixel).
template <typename Body>
void ForEachStretch(const ChainShape& shape, OperandLayout layout, int64_t begin, int count, const Body& body) {
  int64_t at = 0;
  while (at < count) {
    const int64_t element = begin + at;
    int64_t index, left;
    if (layout == OperandLayout::kPerPlane) {
      index = element / shape.plane;
      left = shape.plane - element % shape.plane;
    } else {
      const int64_t channel = element % shape.channels;
      index = element / (shape.channels * shape.plane) * shape.channels + channel;
      left = shape.channels - channel;
    }
    const int64_t length = std::min<int64_t>(left, count - at);
    body(at, length, index);
    at += length;
  }
}

// The operand's values for a tile, in place or gathered into `buffer`.
const float* OperandTile(const StageLoop& stage, const ChainShape& shape, int64_t begin, int count, float* buffer) {
  if (stage.layout == OperandLayout::kSame) return stage.operand + begin;
  ForEachStretch(shape, stage.layout, begin, count, [&](int64_t at, int64_t length, int64_t index) {
    if (stage.layout == OperandLayout::kPerPlane) {
      std::fill_n(buffer + at, length, stage.operand[index]);
    } else {
      std::memcpy(buffer + at, stage.operand + index, sizeof(float) * static_cast<size_t>(length));
    }
  });
  return buffer;
}

void StageForward(const StageLoop& stage, const ChainShape& shape, int64_t begin, int count, const float* v, float* y) {
  alignas(64) float buffer[kTile];
  switch (stage.op->kind) {
    case PointwiseStage::Kind::kFakeQuantize:
      return FakeQuantizeTile(v, y, count, stage.op->scale, stage.op->first, stage.op->last);
    case PointwiseStage::Kind::kClip:
      return ClipTile(v, y, count, stage.op->first, stage.op->last);
    case PointwiseStage::Kind::kHardSwish:
      return HardSwishTile(v, y, count);
    case PointwiseStage::Kind::kAdd:
      return AddTile(v, OperandTile(stage, shape, begin, count, buffer), y, count);
    case PointwiseStage::Kind::kMultiply:
      return MultiplyTile(v, OperandTile(stage, shape, begin, count, buffer), y, count);
  }
}

bool Cuts(const StageLoop& stage) {
  return stage.op->kind == PointwiseStage::Kind::kFakeQuantize || stage.op->kind == PointwiseStage::Kind::kClip;
}

int32_t CodeAbove(size_t stage) { return static_cast<int32_t>(2 * stage + 1); }
int32_t CodeBelow(size_t stage) { return static_cast<int32_t>(2 * stage + 2); }

// Runs body(begin, end, task) over the runs of a chain.
template <typename Body>
void ForEachRun(const ChainShape& shape, const Body& body) {
  const int64_t runs = (shape.count + shape.run - 1) / shape.run;
  at::parallel_for(0, runs, 1, [&](int64_t first, int64_t last) {
    for (int64_t run = first; run < last; ++run) body(run * shape.run, std::min(shape.count, (run + 1) * shape.run), run);
  });
}

// Sums of all stages of each run, put together in the runs' order.
class RunSums {
 public:
  RunSums(const ChainShape& shape, size_t stages)
      : stages_(stages), sums_(static_cast<size_t>((shape.count + shape.run - 1) / shape.run) * stages) {}

  void Add(int64_t run, size_t stage, const std::array<float, 3>& tile) {
    StageSums& sums = sums_[static_cast<size_t>(run) * stages_ + stage];
    sums.above += tile[0];
    sums.below += tile[1];
    sums.rounding += tile[2];
  }

  void AddTo(std::vector<StageSums>& total) const {
    total.assign(stages_, {});
    for (size_t i = 0; i < sums_.size(); ++i) {
      StageSums& sums = total[i % stages_];
      sums.above += sums_[i].above;
      sums.below += sums_[i].below;
      sums.rounding += sums_[i].rounding;
    }
  }

 private:
  const size_t stages_;
  std::vector<StageSums> sums_;
};

// Gradients of an operand with one value for each channel, of the sample that a run is.
class ChannelSums {
 public:
  ChannelSums(const ChainShape& shape, OperandLayout layout)
      : shape_(shape), layout_(layout), sums_(layout == OperandLayout::kSame ? 0 : static_cast<size_t>(shape.channels)) {}

  void Add(int64_t begin, int count, const float* gradient) {
    ForEachStretch(shape_, layout_, begin, count, [&](int64_t at, int64_t length, int64_t index) {
      double* to = sums_.data() + index % shape_.channels;
      if (layout_ == OperandLayout::kPerPlane) {
        *to += SumTile(gradient + at, length);
      } else {
        AddToDoubles(to, gradient + at, length);
      }
    });
  }

  void Store(float* to) const {
    for (size_t c = 0; c < sums_.size(); ++c) to[c] = static_cast<float>(sums_[c]);
  }

 private:
  const ChainShape& shape_;
  const OperandLayout layout_;
  std::vector<double> sums_;
};

// One run on its way back, tile by tile.
class RunBackward {
 public:
  RunBackward(const ChainShape& shape, const std::vector<StageLoop>& stages, ChainGradients& gradients, RunSums& sums, int64_t run)
      : shape_(shape), stages_(stages), gradients_(gradients), sums_(sums), run_(run) {
    for (const StageLoop& stage : stages) channels_.emplace_back(shape, stage.layout);
  }

  // `g` is the upstream gradient and becomes dx.
  void Tile(const float* x, float* g, int64_t begin, int count) {
    const float* before[kMostChainStages];
    before[0] = x + begin;
    for (size_t k = 0; k + 1 < stages_.size(); ++k) {
      StageForward(stages_[k], shape_, begin, count, before[k], values_[k]);
      before[k + 1] = values_[k];
    }
    for (size_t k = stages_.size(); k-- > 0;) Stage(k, before[k], g, begin, count);
  }

  void End() {
    for (size_t k = 0; k < stages_.size(); ++k) {
      if (PerChannel(k) && gradients_.operands[k] != nullptr) channels_[k].Store(gradients_.operands[k] + run_ * shape_.channels);
    }
  }

 private:
  bool PerChannel(size_t k) const { return stages_[k].layout != OperandLayout::kSame; }

  void Stage(size_t k, const float* v, float* g, int64_t begin, int count) {
    const StageLoop& stage = stages_[k];
    switch (stage.op->kind) {
      case PointwiseStage::Kind::kFakeQuantize: {
        std::array<float, 3> sums = {0, 0, 0};
        FakeQuantizeGradientTile(g, v, count, stage.op->scale, stage.op->lower, stage.op->upper, sums.data());
        sums_.Add(run_, k, sums);
        return;
      }
      case PointwiseStage::Kind::kClip:
        return ClipGradientTile(g, v, count, stage.op->lower, stage.op->upper);
      case PointwiseStage::Kind::kHardSwish:
        return HardSwishGradientTile(g, v, count);
      case PointwiseStage::Kind::kAdd:
        return OperandGradient(k, g, begin, count);
      case PointwiseStage::Kind::kMultiply: {
        alignas(64) float buffer[kTile];
        if (gradients_.operands[k] != nullptr) {
          MultiplyTile(g, v, buffer, count);
          OperandGradient(k, buffer, begin, count);
        }
        MultiplyTile(g, OperandTile(stage, shape_, begin, count, buffer), g, count);
        return;
      }
    }
  }

  void OperandGradient(size_t k, const float* gradient, int64_t begin, int count) {
    if (gradients_.operands[k] == nullptr) return;
    if (PerChannel(k)) {
      channels_[k].Add(begin, count, gradient);
    } else {
      std::memcpy(gradients_.operands[k] + begin, gradient, sizeof(float) * static_cast<size_t>(count));
    }
  }

  const ChainShape& shape_;
  const std::vector<StageLoop>& stages_;
  ChainGradients& gradients_;
  RunSums& sums_;
  const int64_t run_;
  std::vector<ChannelSums> channels_;
  alignas(64) float values_[kMostChainStages - 1][kTile];
};

int TileAt(int64_t begin, int64_t end) { return static_cast<int>(std::min<int64_t>(kTile, end - begin)); }

}  // namespace

void ChainForwardLoop(const float* x, float* y, CutCode* codes, const ChainShape& shape, const std::vector<StageLoop>& stages) {
  ForEachRun(shape, [&](int64_t first, int64_t end, int64_t) {
    alignas(64) float value[kTile];
    alignas(64) int32_t cuts[kTile];
    for (int64_t begin = first; begin < end; begin += kTile) {
      const int count = TileAt(begin, end);
      if (codes != nullptr) std::fill_n(cuts, count, 0);
      const float* v = x + begin;
      for (size_t k = 0; k < stages.size(); ++k) {
        if (codes != nullptr && Cuts(stages[k])) {
          MarkCuts(v, cuts, count, stages[k].op->lower, stages[k].op->upper, CodeAbove(k), CodeBelow(k));
        }
        float* to = k + 1 == stages.size() ? y + begin : value;
        StageForward(stages[k], shape, begin, count, v, to);
        v = to;
      }
      if (codes != nullptr) NarrowCodes(cuts, codes + begin, count);
    }
  });
}

void ChainBackwardByCodes(const float* dy, const CutCode* codes, const ChainShape& shape, const std::vector<StageLoop>& stages,
                          ChainGradients& gradients) {
  RunSums sums(shape, stages.size());
  ForEachRun(shape, [&](int64_t first, int64_t end, int64_t run) {
    alignas(64) int32_t cuts[kTile];
    for (int64_t begin = first; begin < end; begin += kTile) {
      const int count = TileAt(begin, end);
      WidenCodes(codes + begin, cuts, count);
      for (size_t k = 0; k < stages.size(); ++k) {
        if (stages[k].op->kind == PointwiseStage::Kind::kFakeQuantize) {
          std::array<float, 3> tile = {0, 0, 0};
          SumCuts(dy + begin, cuts, count, CodeAbove(k), CodeBelow(k), tile.data());
          sums.Add(run, k, tile);
        } else if (gradients.operands[k] != nullptr) {
          // What was cut off before the sum still moves the operand.
          PassUncut(dy + begin, cuts, gradients.operands[k] + begin, count, k == 0 ? 0 : CodeBelow(k - 1));
        }
      }
      if (gradients.dx != nullptr) PassUncut(dy + begin, cuts, gradients.dx + begin, count, 0);
    }
  });
  sums.AddTo(gradients.sums);
}

void ChainBackwardByValues(const float* dy, const float* x, const ChainShape& shape, const std::vector<StageLoop>& stages,
                           ChainGradients& gradients) {
  RunSums sums(shape, stages.size());
  ForEachRun(shape, [&](int64_t first, int64_t end, int64_t run) {
    RunBackward backward(shape, stages, gradients, sums, run);
    alignas(64) float own[kTile];
    for (int64_t begin = first; begin < end; begin += kTile) {
      const int count = TileAt(begin, end);
      float* g = gradients.dx == nullptr ? own : gradients.dx + begin;
      if (g != dy + begin) std::memcpy(g, dy + begin, sizeof(float) * static_cast<size_t>(count));
      backward.Tile(x, g, begin, count);
    }
    backward.End();
  });
  sums.AddTo(gradients.sums);
}

}  // namespace pactory::quant

// Chains against the same ops one by one, which LibTorch computes (fake quantization has tests of its own).
#include "quant/kernels/pointwise_chain.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "quant/kernels/fake_quantize.h"

namespace pactory::quant {
namespace {

// What a chain reads: x, a tensor of its shape, one value for each sample and channel, and two learned ranges.
struct ChainInputs {
  at::Tensor x, same, channel, alpha, second_alpha;

  static ChainInputs Make(at::MemoryFormat format) {
    at::manual_seed(3);
    const auto leaf = [](const at::Tensor& values) { return values.detach().requires_grad_(true); };
    return {.x = leaf((at::randn({3, 21, 17, 13}) * 3).contiguous(format)),
            .same = leaf(at::randn({3, 21, 17, 13}).contiguous(format)),
            .channel = leaf(at::rand({3, 21, 1, 1}) + 0.2),
            .alpha = leaf(at::full({1}, 2.5)),
            .second_alpha = leaf(at::full({1}, 1.5))};
  }

  std::vector<at::Tensor> All() const { return {x, same, channel, alpha, second_alpha}; }
};

struct ChainCase {
  const char* name;
  std::function<std::vector<PointwiseStage>(const ChainInputs&)> stages;
  std::function<at::Tensor(const ChainInputs&)> one_by_one;
};

constexpr Grid kSigned = {-127, 127};
constexpr Grid kUnsigned = {0, 15};

std::vector<ChainCase> Cases() {
  const auto quantize = [](const at::Tensor& x, const at::Tensor& alpha, Grid grid, RangeGradient form = RangeGradient::kClip) {
    return FakeQuantizeLearned(x, alpha, grid, form);
  };
  return {
      {"relu, quantize",
       [](const ChainInputs& in) { return std::vector{ReluStage(), FakeQuantizeLearnedStage(in.alpha, kUnsigned)}; },
       [=](const ChainInputs& in) { return quantize(at::relu(in.x), in.alpha, kUnsigned); }},
      {"quantize, hard swish",
       [](const ChainInputs& in) { return std::vector{FakeQuantizeLearnedStage(in.alpha, kSigned), HardSwishStage()}; },
       [=](const ChainInputs& in) { return at::hardswish(quantize(in.x, in.alpha, kSigned)); }},
      {"add, relu, quantize",
       [](const ChainInputs& in) { return std::vector{AddStage(in.same), ReluStage(), FakeQuantizeLearnedStage(in.alpha, kUnsigned)}; },
       [=](const ChainInputs& in) { return quantize(at::relu(in.x + in.same), in.alpha, kUnsigned); }},
      {"quantize, add, quantize",
       [](const ChainInputs& in) {
         return std::vector{FakeQuantizeLearnedStage(in.alpha, kSigned), AddStage(in.same), FakeQuantizeLearnedStage(in.second_alpha, kSigned)};
       },
       [=](const ChainInputs& in) { return quantize(quantize(in.x, in.alpha, kSigned) + in.same, in.second_alpha, kSigned); }},
      {"multiply by channel, quantize",
       [](const ChainInputs& in) { return std::vector{MultiplyStage(in.channel), FakeQuantizeLearnedStage(in.alpha, kSigned)}; },
       [=](const ChainInputs& in) { return quantize(in.x * in.channel, in.alpha, kSigned); }},
      {"add by channel, quantize",
       [](const ChainInputs& in) { return std::vector{AddStage(in.channel), FakeQuantizeLearnedStage(in.alpha, kSigned)}; },
       [=](const ChainInputs& in) { return quantize(in.x + in.channel, in.alpha, kSigned); }},
      {"clip, multiply, hard swish, quantize by steps",
       [](const ChainInputs& in) {
         return std::vector{ClipStage(-1.5, 6), MultiplyStage(in.same), HardSwishStage(),
                            FakeQuantizeLearnedStage(in.alpha, kSigned, RangeGradient::kClipAndRounding)};
       },
       [=](const ChainInputs& in) {
         return quantize(at::hardswish(at::clamp(in.x, -1.5, 6) * in.same), in.alpha, kSigned, RangeGradient::kClipAndRounding);
       }},
      {"quantize by steps, quantize",
       [](const ChainInputs& in) {
         return std::vector{FakeQuantizeLearnedStage(in.alpha, kSigned, RangeGradient::kClipAndRounding),
                            FakeQuantizeLearnedStage(in.second_alpha, kSigned)};
       },
       [=](const ChainInputs& in) {
         return quantize(quantize(in.x, in.alpha, kSigned, RangeGradient::kClipAndRounding), in.second_alpha, kSigned);
       }},
  };
}

class PointwiseChainTest : public testing::TestWithParam<at::MemoryFormat> {};

TEST_P(PointwiseChainTest, GivesWhatTheOpsGiveOneByOne) {
  for (const ChainCase& chain : Cases()) {
    SCOPED_TRACE(chain.name);
    const ChainInputs fused = ChainInputs::Make(GetParam()), single = ChainInputs::Make(GetParam());
    const std::optional<at::Tensor> y = RunPointwiseChain(fused.x, chain.stages(fused));
    ASSERT_TRUE(y.has_value());
    const at::Tensor expected = chain.one_by_one(single);
    EXPECT_TRUE(at::equal(*y, expected));
    EXPECT_EQ(y->strides(), fused.x.strides());
    const at::Tensor w = at::randn_like(expected);
    (*y * w).sum().backward();
    (expected * w).sum().backward();
    for (size_t i = 0; i < fused.All().size(); ++i) {
      const at::Tensor gradient = fused.All()[i].grad(), other = single.All()[i].grad();
      ASSERT_EQ(gradient.defined(), other.defined()) << i;
      if (gradient.defined()) EXPECT_TRUE(at::allclose(gradient, other, 1e-4, 1e-4)) << i << ": " << (gradient - other).abs().max();
    }
  }
}

TEST_P(PointwiseChainTest, NumberOfThreadsChangesNothing) {
  const int threads = at::get_num_threads();
  for (const ChainCase& chain : Cases()) {
    SCOPED_TRACE(chain.name);
    std::vector<std::vector<at::Tensor>> gradients;
    for (const int count : {1, 3}) {
      at::set_num_threads(count);
      const ChainInputs in = ChainInputs::Make(GetParam());
      (*RunPointwiseChain(in.x, chain.stages(in)) * in.same.detach()).sum().backward();
      gradients.emplace_back();
      for (const at::Tensor& input : in.All()) gradients.back().push_back(input.grad().defined() ? input.grad() : at::zeros({1}));
    }
    for (size_t i = 0; i < gradients[0].size(); ++i) EXPECT_TRUE(at::equal(gradients[0][i], gradients[1][i])) << i;
  }
  at::set_num_threads(threads);
}

INSTANTIATE_TEST_SUITE_P(Layouts, PointwiseChainTest, testing::Values(at::MemoryFormat::Contiguous, at::MemoryFormat::ChannelsLast));

TEST(PointwiseChainTest, AGradientThatOthersReadStaysAsItIs) {
  const ChainInputs in = ChainInputs::Make(at::MemoryFormat::Contiguous);
  const at::Tensor y = *RunPointwiseChain(in.x, {ReluStage(), FakeQuantizeLearnedStage(in.alpha, kUnsigned)});
  // The sum hands one gradient to both of its operands, and the caller keeps it too.
  const at::Tensor sum = y + in.same;
  const at::Tensor upstream = at::randn_like(sum);
  const at::Tensor before = upstream.clone();
  sum.backward(upstream);
  EXPECT_TRUE(at::equal(upstream, before));
  EXPECT_TRUE(at::equal(in.same.grad(), before));
}

TEST(PointwiseChainTest, OneTensorMayBeBothOperands) {
  const at::Tensor x = at::randn({64}).requires_grad_(true), alpha = at::full({1}, 1.0f).requires_grad_(true);
  RunPointwiseChain(x, {AddStage(x), FakeQuantizeLearnedStage(alpha, kSigned)})->sum().backward();
  EXPECT_TRUE(at::equal(x.grad(), at::where((x * 2).abs() < 1, at::full({}, 2.0f), at::zeros({}))));
}

TEST(PointwiseChainTest, WhatTheLoopsDoNotServeIsLeftToTheOps) {
  const at::Tensor x = at::randn({2, 3, 4, 5});
  EXPECT_FALSE(RunPointwiseChain(x.to(at::kDouble), {ReluStage(), HardSwishStage()}).has_value());
  EXPECT_FALSE(RunPointwiseChain(x, {AddStage(at::randn({1, 3, 1, 1})), ReluStage()}).has_value());
  EXPECT_FALSE(RunPointwiseChain(x, {AddStage(x.contiguous(at::MemoryFormat::ChannelsLast)), ReluStage()}).has_value());
  EXPECT_FALSE(RunPointwiseChain(at::empty({0, 3}), {ReluStage(), HardSwishStage()}).has_value());
  EXPECT_FALSE(RunPointwiseChain(x, std::vector<PointwiseStage>(kMostChainStages + 1, ReluStage())).has_value());
  EXPECT_TRUE(RunPointwiseChain(x, std::vector<PointwiseStage>(kMostChainStages, ReluStage())).has_value());
}

TEST(PointwiseChainTest, KeepsAByteForEachElementWhereSlopesAreZeroOrOne) {
  const ChainInputs in = ChainInputs::Make(at::MemoryFormat::Contiguous);
  at::Tensor x = in.x * 1;
  const at::Tensor y = *RunPointwiseChain(x, {ReluStage(), FakeQuantizeLearnedStage(in.alpha, kUnsigned)});
  // This one and the product's output alone hold x.
  EXPECT_EQ(x.use_count(), 1U);
}

}  // namespace
}  // namespace pactory::quant

#include "quant/exporting/pair_sums.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/quant/make_graph.h"

namespace pactory::quant {
namespace {

StoredRange Everything(int64_t channels) { return {at::zeros({channels}), at::full({channels}, 255.0f)}; }

at::Tensor Int8(std::initializer_list<int> values, std::vector<int64_t> shape) {
  return at::tensor(std::vector<int>(values), at::kInt).to(at::kChar).reshape(shape);
}

TEST(PairSumsTest, FullRangePairsPass16BitsAndReducedOnesDoNot) {
  const Node gemm = NodeOf("Gemm", {"x", "w"}, "y", {{"transB", int64_t{1}}});
  EXPECT_NEAR(LargestPairSum(gemm, Int8({127, 127}, {1, 2}), Everything(2), 0), 2 * 127 * 255 / 32767.0, 1e-6);
  EXPECT_NEAR(LargestPairSum(gemm, Int8({-127, -127}, {1, 2}), Everything(2), 0), 2 * 127 * 255 / 32768.0, 1e-6);
  EXPECT_LT(LargestPairSum(gemm, Int8({63, 63}, {1, 2}), Everything(2), 0), 1);
  // Products of unlike sign do not add up, nor do those of different pairs.
  EXPECT_LT(LargestPairSum(gemm, Int8({127, -127, 1, 127}, {1, 4}), Everything(4), 0), 1);
  // What the inputs do not reach does not count.
  EXPECT_LT(LargestPairSum(gemm, Int8({127, 127}, {1, 2}), {at::zeros({2}), at::full({2}, 128.0f)}, 0), 1);
}

TEST(PairSumsTest, AMatrixProductPairsAlongItsInnerAxis) {
  // K x N: a pair is two rows of one column.
  const Node matmul = NodeOf("MatMul", {"x", "w"}, "y");
  EXPECT_GT(LargestPairSum(matmul, Int8({127, 0, 127, 0}, {2, 2}), Everything(2), 0), 1);
  EXPECT_LT(LargestPairSum(matmul, Int8({127, 127, 0, 0}, {2, 2}), Everything(2), 0), 1);
}

TEST(PairSumsTest, AConvPairsItsInputChannelsAtOnePlaceOfTheKernel) {
  const Node conv = NodeOf("Conv", {"x", "w"}, "y");
  // 1 x 2 x 1 x 2: both channels at one place.
  EXPECT_GT(LargestPairSum(conv, Int8({127, 0, 127, 0}, {1, 2, 1, 2}), Everything(2), 0), 1);
  // One channel at both places: its neighbour is the other channel's 0.
  EXPECT_LT(LargestPairSum(conv, Int8({127, 127, 0, 0}, {1, 2, 1, 2}), Everything(2), 0), 1);
  const Node depthwise = NodeOf("Conv", {"x", "w"}, "y", {{"group", int64_t{2}}});
  EXPECT_EQ(LargestPairSum(depthwise, Int8({127, 127, 127, 127}, {2, 1, 1, 2}), Everything(2), 0), 0);
}

TEST(PairSumsTest, GroupsReadTheirOwnChannels) {
  const Node conv = NodeOf("Conv", {"x", "w"}, "y", {{"group", int64_t{2}}});
  const at::Tensor weight = Int8({127, 127, 1, 1}, {2, 2, 1, 1});
  const StoredRange first_small = {at::zeros({4}), at::tensor({1.0f, 1.0f, 255.0f, 255.0f})};
  EXPECT_LT(LargestPairSum(conv, weight, first_small, 0), 0.1);
  EXPECT_GT(LargestPairSum(conv, weight, Everything(4), 0), 1);
}

// Every pair of every combination of range ends, against the function.
TEST(PairSumsTest, IsTheLargestOfAllCombinations) {
  at::manual_seed(5);
  const int64_t outputs = 3, channels = 5, kernel = 3, padding = 128;
  const at::Tensor weight = at::randint(-127, 128, {outputs, channels, kernel, 1}, at::kInt).to(at::kChar);
  const at::Tensor low = at::randint(100, 128, {channels}).to(at::kFloat), high = at::randint(129, 256, {channels}).to(at::kFloat);
  double expected = 0;
  for (int64_t m = 0; m < outputs; ++m) {
    for (int64_t k = 0; k < channels * kernel; k += 2) {
      double largest = 0, least = 0;
      for (int64_t j = k; j < std::min(k + 2, channels * kernel); ++j) {
        const double w = weight[m][j % channels][j / channels][0].item<double>();
        const double a = w * low[j % channels].item<double>(), b = w * high[j % channels].item<double>();
        largest += std::max(a, b);
        least += std::min(a, b);
      }
      expected = std::max({expected, largest / 32767, least / -32768});
    }
  }
  const Node conv = NodeOf("Conv", {"x", "w"}, "y");
  EXPECT_NEAR(LargestPairSum(conv, weight, {low, high}, padding), expected, 1e-6);
}

TEST(PairSumsTest, RangesAreThoseOfTheInputChannels) {
  const Node conv = NodeOf("Conv", {"x", "w"}, "y"), matmul = NodeOf("MatMul", {"x", "w"}, "y");
  const at::Tensor x = at::arange(24).reshape({2, 3, 4});
  EXPECT_TRUE(at::equal(RangeByChannel(conv, x).low, at::tensor({0.0f, 4.0f, 8.0f})));
  EXPECT_TRUE(at::equal(RangeByChannel(conv, x).high, at::tensor({15.0f, 19.0f, 23.0f})));
  EXPECT_TRUE(at::equal(RangeByChannel(matmul, x).high, at::tensor({20.0f, 21.0f, 22.0f, 23.0f})));
}

}  // namespace
}  // namespace pactory::quant

#include "quant/passes/fold_batch_norm.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/quant/make_graph.h"

namespace pactory::quant {
namespace {

using testing::ElementsAre;

std::map<std::string, at::Tensor> BatchNormConstants(int64_t channels) {
  return {{"gamma", at::randn({channels})},
          {"beta", at::randn({channels})},
          {"mean", at::randn({channels})},
          {"var", at::rand({channels}) + 0.5}};
}

Node BatchNorm(const std::string& input, const std::string& output) {
  return NodeOf("BatchNormalization", {input, "gamma", "beta", "mean", "var"}, output, {{"epsilon", 0.01f}});
}

// Folds and returns the largest change of the output.
double FoldedDifference(Graph& graph, const at::Tensor& x) {
  const at::Tensor before = RunGraph(graph, {x});
  EXPECT_TRUE(FoldBatchNorm(graph).ok());
  graph.RemoveDeadCode();
  EXPECT_TRUE(graph.Verify().ok()) << graph.Verify();
  return (RunGraph(graph, {x}) - before).abs().max().item<double>();
}

TEST(FoldBatchNormTest, GoesIntoConvolutionsWithAndWithoutBias) {
  for (const char* bias : {"", "b"}) {
    auto constants = BatchNormConstants(4);
    constants["w"] = at::randn({4, 2, 3, 3});
    constants["b"] = at::randn({4});
    Graph graph = GraphOf({-1, 2, 6, 6}, {NodeOf("Conv", {"x", "w", bias}, "c"), BatchNorm("c", "y")}, constants);
    EXPECT_LT(FoldedDifference(graph, at::randn({2, 2, 6, 6})), 1e-5);
    EXPECT_THAT(OpsOf(graph), ElementsAre("Conv"));
  }
}

TEST(FoldBatchNormTest, GoesIntoGroupedTransposedConvolutions) {
  auto constants = BatchNormConstants(6);
  constants["w"] = at::randn({4, 3, 2, 2});
  Graph graph =
      GraphOf({-1, 4, 5, 5}, {NodeOf("ConvTranspose", {"x", "w"}, "c", {{"group", int64_t{2}}}), BatchNorm("c", "y")},
              constants);
  EXPECT_LT(FoldedDifference(graph, at::randn({2, 4, 5, 5})), 1e-5);
  EXPECT_THAT(OpsOf(graph), ElementsAre("ConvTranspose"));
}

TEST(FoldBatchNormTest, GoesIntoGemmInBothLayouts) {
  for (const int64_t transposed : {0, 1}) {
    auto constants = BatchNormConstants(5);
    constants["w"] = transposed != 0 ? at::randn({5, 3}) : at::randn({3, 5});
    constants["b"] = at::randn({5});
    Graph graph = GraphOf(
        {-1, 3}, {NodeOf("Gemm", {"x", "w", "b"}, "c", {{"transB", transposed}}), BatchNorm("c", "y")}, constants);
    EXPECT_LT(FoldedDifference(graph, at::randn({4, 3})), 1e-5);
    EXPECT_THAT(OpsOf(graph), ElementsAre("Gemm"));
  }
}

TEST(FoldBatchNormTest, ChainsOfArithmeticFold) {
  Graph graph =
      GraphOf({-1, 2, 6, 6},
              {NodeOf("Conv", {"x", "w"}, "c"), NodeOf("Add", {"b", "c"}, "d"), NodeOf("Mul", {"d", "s"}, "e"),
               NodeOf("Sub", {"e", "t"}, "f"), NodeOf("Div", {"f", "u"}, "g"), NodeOf("Relu", {"g"}, "y")},
              {{"w", at::randn({4, 2, 3, 3})},
               {"b", at::randn({1, 4, 1, 1})},
               {"s", at::randn({4, 1, 1})},
               {"t", at::scalar_tensor(0.5f)},
               {"u", at::full({1}, 4.0f)}});
  EXPECT_LT(FoldedDifference(graph, at::randn({2, 2, 6, 6})), 1e-5);
  EXPECT_THAT(OpsOf(graph), ElementsAre("Conv", "Relu"));
}

TEST(FoldBatchNormTest, WhatIsNotAffineByChannelStays) {
  // A vector of the width's length broadcasts along the width, not the channels.
  Graph along_width = GraphOf({-1, 2, 6, 6}, {NodeOf("Conv", {"x", "w"}, "c"), NodeOf("Add", {"c", "b"}, "y")},
                              {{"w", at::randn({4, 2, 3, 3})}, {"b", at::randn({4})}});
  EXPECT_EQ(FoldedDifference(along_width, at::randn({2, 2, 6, 6})), 0);
  EXPECT_THAT(OpsOf(along_width), ElementsAre("Conv", "Add"));
  Graph reversed = GraphOf({-1, 2, 6, 6}, {NodeOf("Conv", {"x", "w"}, "c"), NodeOf("Sub", {"b", "c"}, "y")},
                           {{"w", at::randn({4, 2, 3, 3})}, {"b", at::randn({1})}});
  EXPECT_EQ(FoldedDifference(reversed, at::randn({2, 2, 6, 6})), 0);
  EXPECT_THAT(OpsOf(reversed), ElementsAre("Conv", "Sub"));
}

TEST(FoldBatchNormTest, AConvolutionWithAnotherReaderStays) {
  auto constants = BatchNormConstants(4);
  constants["w"] = at::randn({4, 2, 1, 1});
  Graph graph = GraphOf(
      {-1, 2, 6, 6}, {NodeOf("Conv", {"x", "w"}, "c"), BatchNorm("c", "n"), NodeOf("Add", {"c", "n"}, "y")}, constants);
  EXPECT_EQ(FoldedDifference(graph, at::randn({2, 2, 6, 6})), 0);
  EXPECT_THAT(OpsOf(graph), ElementsAre("Conv", "BatchNormalization", "Add"));
}

TEST(FoldBatchNormTest, SharedWeightsAreFoldedForEachReader) {
  auto constants = BatchNormConstants(4);
  constants["w"] = at::randn({4, 4, 1, 1});
  Graph graph =
      GraphOf({-1, 4, 6, 6}, {NodeOf("Conv", {"x", "w"}, "a"), BatchNorm("a", "b"), NodeOf("Conv", {"b", "w"}, "y")},
              constants);
  EXPECT_LT(FoldedDifference(graph, at::randn({2, 4, 6, 6})), 1e-4);
  EXPECT_THAT(OpsOf(graph), ElementsAre("Conv", "Conv"));
}

}  // namespace
}  // namespace pactory::quant

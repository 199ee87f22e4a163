#include "quant/passes/equalize_layers.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/quant/make_graph.h"

namespace pactory::quant {
namespace {

// A weight whose output channels differ by up to four orders of magnitude.
at::Tensor Uneven(std::vector<int64_t> shape, int64_t axis = 0) {
  std::vector<int64_t> along(shape.size(), 1);
  along[axis] = shape[axis];
  return at::randn(shape) * at::pow(10, at::rand(along) * 4 - 2);
}

// max|w| by output channel, and by input channel, of a Conv without groups.
at::Tensor OutputRanges(const at::Tensor& w) { return w.abs().flatten(1).amax({1}); }
at::Tensor InputRanges(const at::Tensor& w) { return w.abs().transpose(0, 1).flatten(1).amax({1}); }

const at::Tensor& WeightOf(const Graph& graph, size_t node) {
  return graph.initializers.at(graph.nodes[node].inputs[1]);
}

// Equalizes; expects the outputs to be the same to 1e-5 of their size.
void EqualizeAndCompare(Graph& graph, const at::Tensor& x) {
  const at::Tensor before = RunGraph(graph, {x});
  ASSERT_TRUE(EqualizeLayers(graph).ok());
  graph.RemoveDeadCode();
  ASSERT_TRUE(graph.Verify().ok()) << graph.Verify();
  const at::Tensor difference = RunGraph(graph, {x}) - before;
  EXPECT_LT(difference.abs().max().item<double>(), 1e-5 * before.abs().max().item<double>());
}

TEST(EqualizeLayersTest, BothLayersOfAPairGetTheGeometricMeanOfTheirRanges) {
  at::manual_seed(1);
  Graph graph = GraphOf({-1, 3, 8, 8},
                        {NodeOf("Conv", {"x", "w1", "b1"}, "c"), NodeOf("Relu", {"c"}, "r"), NodeOf("Conv", {"r", "w2"}, "y")},
                        {{"w1", Uneven({6, 3, 3, 3})}, {"b1", at::randn({6})}, {"w2", Uneven({4, 6, 1, 1}, 1)}});
  const at::Tensor expected =
      (OutputRanges(graph.initializers.at("w1")) * InputRanges(graph.initializers.at("w2"))).sqrt();
  EqualizeAndCompare(graph, at::randn({2, 3, 8, 8}));
  EXPECT_TRUE(at::allclose(OutputRanges(WeightOf(graph, 0)), expected, 1e-5));
  EXPECT_TRUE(at::allclose(InputRanges(WeightOf(graph, 2)), expected, 1e-5));
}

TEST(EqualizeLayersTest, ChainsWithDepthwiseLayersEvenOutFromEndToEnd) {
  at::manual_seed(2);
  Graph graph = GraphOf(
      {-1, 3, 8, 8},
      {NodeOf("Conv", {"x", "w1", "b1"}, "c1"), NodeOf("PRelu", {"c1", "slope"}, "r1"),
       NodeOf("Conv", {"r1", "w2", "b2"}, "c2", {{"group", int64_t{6}}}), NodeOf("LeakyRelu", {"c2"}, "r2", {{"alpha", 0.1f}}),
       NodeOf("MaxPool", {"r2"}, "p2", {{"kernel_shape", std::vector<int64_t>{2, 2}}}), NodeOf("Conv", {"p2", "w3"}, "y")},
      {{"w1", Uneven({6, 3, 3, 3})}, {"b1", at::randn({6})}, {"slope", at::rand({6, 1, 1})}, {"w2", Uneven({6, 1, 3, 3})},
       {"b2", at::randn({6})}, {"w3", Uneven({4, 6, 1, 1}, 1)}});
  const auto& before = graph.initializers;
  const at::Tensor product = OutputRanges(before.at("w1")) * OutputRanges(before.at("w2")) * InputRanges(before.at("w3"));
  EqualizeAndCompare(graph, at::randn({2, 3, 8, 8}));
  // Scaling keeps the product of the three; all three become its cube root.
  const at::Tensor expected = product.pow(1.0 / 3);
  EXPECT_TRUE(at::allclose(OutputRanges(WeightOf(graph, 0)), expected, 1e-4));
  EXPECT_TRUE(at::allclose(OutputRanges(WeightOf(graph, 2)), expected, 1e-4));
  EXPECT_TRUE(at::allclose(InputRanges(WeightOf(graph, 5)), expected, 1e-4));
}

TEST(EqualizeLayersTest, GroupedAndTransposedConvolutionsKeepTheirChannels) {
  at::manual_seed(3);
  Graph graph = GraphOf({-1, 4, 6, 6},
                        {NodeOf("ConvTranspose", {"x", "w1", "b1"}, "c1", {{"group", int64_t{2}}}), NodeOf("Relu", {"c1"}, "r1"),
                         NodeOf("Conv", {"r1", "w2", "b2"}, "c2", {{"group", int64_t{3}}}), NodeOf("Relu", {"c2"}, "r2"),
                         NodeOf("ConvTranspose", {"r2", "w3"}, "y", {{"group", int64_t{2}}})},
                        {{"w1", Uneven({4, 3, 2, 2}, 1)}, {"b1", at::randn({6})}, {"w2", Uneven({6, 2, 3, 3})},
                         {"b2", at::randn({6})}, {"w3", Uneven({6, 2, 2, 2})}});
  const at::Tensor before = WeightOf(graph, 2).clone();
  EqualizeAndCompare(graph, at::randn({2, 4, 6, 6}));
  EXPECT_FALSE(at::allclose(WeightOf(graph, 2), before));
}

TEST(EqualizeLayersTest, MatricesInEveryLayout) {
  at::manual_seed(4);
  Graph graph = GraphOf({-1, 5},
                        {NodeOf("MatMul", {"x", "w1"}, "m"), NodeOf("Relu", {"m"}, "r1"),
                         NodeOf("Gemm", {"r1", "w2", "b2"}, "g", {{"transB", int64_t{1}}}), NodeOf("Relu", {"g"}, "r2"),
                         NodeOf("Gemm", {"r2", "w3"}, "y")},
                        {{"w1", Uneven({5, 7}, 1)}, {"w2", Uneven({6, 7})}, {"b2", at::randn({1, 6})}, {"w3", Uneven({6, 3})}});
  EqualizeAndCompare(graph, at::randn({9, 5}));
  EXPECT_TRUE(at::allclose(WeightOf(graph, 0).abs().amax({0}), WeightOf(graph, 2).abs().amax({0}), 1e-4));
  EXPECT_TRUE(at::allclose(WeightOf(graph, 2).abs().amax({1}), WeightOf(graph, 4).abs().amax({1}), 1e-4));
}

TEST(EqualizeLayersTest, WeightsThatTwoLayersReadBecomeTwo) {
  at::manual_seed(5);
  Graph graph = GraphOf({-1, 4, 5, 5},
                        {NodeOf("Conv", {"x", "w"}, "c1"), NodeOf("Relu", {"c1"}, "r1"), NodeOf("Conv", {"r1", "w"}, "y")},
                        {{"w", Uneven({4, 4, 3, 3})}});
  EqualizeAndCompare(graph, at::randn({2, 4, 5, 5}));
  EXPECT_NE(graph.nodes[0].inputs[1], graph.nodes[2].inputs[1]);
}

TEST(EqualizeLayersTest, WhatMustNotBeScaledStays) {
  at::manual_seed(6);
  const std::vector<Node> between[] = {
      {NodeOf("Clip", {"c", "zero", "six"}, "r")},
      {NodeOf("HardSwish", {"c"}, "r")},
      {NodeOf("Add", {"c", "c"}, "r")},
      // A second reader.
      {NodeOf("Relu", {"c"}, "r"), NodeOf("GlobalAveragePool", {"c"}, "p")},
  };
  for (const std::vector<Node>& nodes : between) {
    Graph graph = GraphOf({-1, 3, 6, 6}, {NodeOf("Conv", {"x", "w1"}, "c")},
                          {{"w1", Uneven({4, 3, 3, 3})}, {"w2", Uneven({2, 4, 1, 1}, 1)}, {"zero", at::zeros({})},
                           {"six", at::full({}, 6.0f)}},
                          14);
    graph.nodes.insert(graph.nodes.end(), nodes.begin(), nodes.end());
    graph.nodes.push_back(NodeOf("Conv", {"r", "w2"}, "y"));
    if (nodes.size() > 1) graph.outputs.push_back({.name = "p"});
    const at::Tensor w1 = WeightOf(graph, 0).clone(), w2 = graph.initializers.at("w2").clone();
    ASSERT_TRUE(EqualizeLayers(graph).ok());
    EXPECT_TRUE(at::equal(WeightOf(graph, 0), w1)) << nodes[0].op_type;
    EXPECT_TRUE(at::equal(graph.initializers.at(graph.nodes.back().inputs[1]), w2)) << nodes[0].op_type;
  }
}

TEST(EqualizeLayersTest, ChannelsWithoutARangeStay) {
  at::manual_seed(7);
  at::Tensor w1 = Uneven({4, 3, 1, 1}), w2 = Uneven({2, 4, 1, 1}, 1), b1 = at::randn({4});
  w1[0].zero_();
  w2.select(1, 1).zero_();
  // A constant channel: its weights vanish beside its bias.
  w1[2].fill_(1e-9);
  Graph graph = GraphOf({-1, 3, 4, 4},
                        {NodeOf("Conv", {"x", "w1", "b1"}, "c"), NodeOf("Relu", {"c"}, "r"), NodeOf("Conv", {"r", "w2"}, "y")},
                        {{"w1", w1.clone()}, {"b1", b1.clone()}, {"w2", w2.clone()}});
  EqualizeAndCompare(graph, at::randn({2, 3, 4, 4}));
  for (const int64_t channel : {0, 1, 2}) {
    EXPECT_TRUE(at::equal(WeightOf(graph, 0)[channel], w1[channel])) << channel;
    EXPECT_TRUE(at::equal(WeightOf(graph, 2).select(1, channel), w2.select(1, channel))) << channel;
  }
  EXPECT_FALSE(at::allclose(WeightOf(graph, 0)[3], w1[3]));
}

}  // namespace
}  // namespace pactory::quant

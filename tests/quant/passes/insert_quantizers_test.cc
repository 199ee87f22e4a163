#include "quant/passes/insert_quantizers.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "config/config_rules.h"
#include "quant/passes/layer_overrides.h"

namespace pactory::quant {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

Node MakeNode(std::string op, std::vector<std::string> inputs, std::string output) {
  Node node;
  node.name = output + "_node";
  node.op_type = std::move(op);
  node.inputs = std::move(inputs);
  node.outputs = {std::move(output)};
  return node;
}

v1::QuantizationConfig Config() {
  v1::QuantizationConfig config;
  FillDefaults(config);
  return config;
}

// x -> Conv a -> Relu r -> Conv b -> Add(b, r) s -> Conv c (the output)
Graph Residual() {
  Graph graph;
  graph.opsets[""] = 13;
  graph.inputs = {{.name = "x", .dims = {-1, 4, 8, 8}}};
  graph.outputs = {{.name = "c", .dims = {-1, 4, 8, 8}}};
  for (const char* name : {"wa", "wb", "wc"}) graph.initializers[name] = at::randn({4, 4, 1, 1});
  graph.initializers["ba"] = at::randn({4});
  graph.nodes = {MakeNode("Conv", {"x", "wa", "ba"}, "a"), MakeNode("Relu", {"a"}, "r"),
                 MakeNode("Conv", {"r", "wb"}, "b"), MakeNode("Add", {"b", "r"}, "s"), MakeNode("Conv", {"s", "wc"}, "c")};
  return graph;
}

std::vector<std::string> ValuesOf(const QuantizationPlan& plan) {
  std::vector<std::string> values;
  for (const ActivationPlacement& placement : plan.activations) values.push_back(placement.value);
  return values;
}

const ActivationPlacement& PlacementOf(const QuantizationPlan& plan, const std::string& value) {
  return *std::find_if(plan.activations.begin(), plan.activations.end(),
                       [&](const ActivationPlacement& placement) { return placement.value == value; });
}

TEST(InsertQuantizersTest, ConvolutionsAndSumsGetPairsOnBothSides) {
  Graph graph = Residual();
  const auto plan = InsertQuantizers(graph, Config());
  ASSERT_TRUE(plan.ok()) << plan.status();
  // `a` is not quantized: the Q behind the Relu is the Relu. `c` is the model's output and stays float.
  EXPECT_THAT(ValuesOf(*plan), UnorderedElementsAre("x", "r", "b", "s"));
  EXPECT_EQ(PlacementOf(*plan, "r").sign, Sign::kNonNegative);
  EXPECT_EQ(PlacementOf(*plan, "s").sign, Sign::kAny);
  EXPECT_EQ(plan->weights.size(), 3u);
  EXPECT_EQ(plan->weights[0].channel_axis, 0);
  EXPECT_EQ(plan->layers[0].bias, "ba");
  EXPECT_TRUE(graph.Verify().ok()) << graph.Verify();
  // Every reader of a quantized value reads it quantized.
  const Node* add = graph.Producer("s");
  for (const std::string& input : add->inputs) EXPECT_EQ(graph.Producer(input)->op_type, "FakeQuantize") << input;
  EXPECT_EQ(graph.outputs[0].name, "c");
  EXPECT_EQ(graph.Producer("c")->op_type, "Conv");
}

TEST(InsertQuantizersTest, BelowEightBitsOnlyLayerInputsAreQuantized) {
  Graph graph = Residual();
  v1::QuantizationConfig config = Config();
  config.mutable_activations()->set_bits(4);
  config.mutable_weights()->set_bits(4);
  const auto plan = InsertQuantizers(graph, config);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(ValuesOf(*plan), UnorderedElementsAre("x", "r", "s"));
  // The first and the last layer keep 8 bits; the one between has 4.
  EXPECT_EQ(PlacementOf(*plan, "x").bits, 8);
  EXPECT_EQ(PlacementOf(*plan, "r").bits, 4);
  EXPECT_EQ(PlacementOf(*plan, "s").bits, 8);
  EXPECT_EQ(plan->weights[0].bits, 8);
  EXPECT_EQ(plan->weights[1].bits, 4);
  // The sum keeps the finer values of `r`.
  EXPECT_EQ(graph.Producer("s")->inputs[1], "r");
}

TEST(InsertQuantizersTest, OverridesSkipLayersAndSetBits) {
  Graph graph = Residual();
  v1::QuantizationConfig config = Config();
  auto* skip = config.add_overrides();
  skip->set_name("b_*");
  skip->set_skip(true);
  auto* bits = config.add_overrides();
  bits->set_name("c_node");
  bits->set_weight_bits(4);
  auto* unused = config.add_overrides();
  unused->set_op_type("Gemm");
  const auto plan = InsertQuantizers(graph, config);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->layers[1].float_reason, "skipped by overrides[0]");
  EXPECT_THAT(plan->layers[1].weight_quantizer, IsEmpty());
  EXPECT_EQ(plan->weights.back().bits, 4);
  ASSERT_EQ(plan->warnings.size(), 1u);
  EXPECT_THAT(plan->warnings[0], HasSubstr("overrides[2]"));
}

TEST(InsertQuantizersTest, ValuesMovedUnchangedShareTheirScale) {
  Graph graph;
  graph.opsets[""] = 13;
  graph.inputs = {{.name = "x", .dims = {-1, 4, 8, 8}}};
  graph.outputs = {{.name = "y", .dims = {}}};
  graph.initializers["w"] = at::randn({4, 4, 1, 1});
  graph.initializers["v"] = at::randn({4, 4, 1, 1});
  Node pool = MakeNode("MaxPool", {"a"}, "p");
  pool.attributes["kernel_shape"] = std::vector<int64_t>{2, 2};
  graph.nodes = {MakeNode("Conv", {"x", "w"}, "a"), pool, MakeNode("Conv", {"p", "v"}, "y")};
  const auto plan = InsertQuantizers(graph, Config());
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(ValuesOf(*plan), UnorderedElementsAre("x", "a"));
  EXPECT_EQ(plan->layers[1].input_quantizer, "a");
  const Node* behind_pool = graph.Producer(graph.Producer("y")->inputs[0]);
  ASSERT_NE(behind_pool, nullptr);
  EXPECT_EQ(behind_pool->StringOr("quantizer", ""), "a");
  EXPECT_TRUE(graph.Verify().ok()) << graph.Verify();
}

TEST(InsertQuantizersTest, ComputedWeightsStayFloatAndSayWhy) {
  Graph graph;
  graph.opsets[""] = 13;
  graph.inputs = {{.name = "x", .dims = {-1, 4}}, {.name = "m", .dims = {4, 4}}};
  graph.outputs = {{.name = "y", .dims = {}}};
  graph.initializers["w"] = at::randn({4, 4});
  graph.nodes = {MakeNode("MatMul", {"x", "m"}, "a"), MakeNode("MatMul", {"a", "w"}, "y")};
  const auto plan = InsertQuantizers(graph, Config());
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(plan->layers[0].float_reason, HasSubstr("computed"));
  EXPECT_EQ(plan->weights[0].channel_axis, 1);
}

TEST(InsertQuantizersTest, NothingToQuantizeIsAnError) {
  Graph graph;
  graph.opsets[""] = 13;
  graph.inputs = {{.name = "x", .dims = {-1}}};
  graph.outputs = {{.name = "y", .dims = {}}};
  graph.nodes = {MakeNode("Relu", {"x"}, "y")};
  EXPECT_EQ(InsertQuantizers(graph, Config()).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(LayerOverridesTest, GlobsMatchWholeNames) {
  EXPECT_TRUE(MatchesGlob("*", ""));
  EXPECT_TRUE(MatchesGlob("conv*/w*", "conv1/block/w2"));
  EXPECT_FALSE(MatchesGlob("conv", "conv1"));
  EXPECT_FALSE(MatchesGlob("conv*x", "conv1"));
  EXPECT_TRUE(MatchesGlob("*a*b", "xxaxxab"));
  // Linear time on what would be exponential for a backtracking matcher.
  EXPECT_FALSE(MatchesGlob("*a*a*a*a*a*a*a*a*a*a*b", std::string(5000, 'a')));
}

}  // namespace
}  // namespace pactory::quant

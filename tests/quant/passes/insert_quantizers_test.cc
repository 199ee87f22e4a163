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

Node Depthwise(std::string input, std::string weight, std::string output) {
  Node node = MakeNode("Conv", {std::move(input), std::move(weight)}, std::move(output));
  node.attributes["group"] = int64_t{8};
  return node;
}

// x (3 channels) -> Conv a -> Relu r -> Conv b -> Conv d -> Add(d, b) s -> Gemm-like Conv e -> Sigmoid y
Graph Residual() {
  Graph graph;
  graph.opsets[""] = 13;
  graph.inputs = {{.name = "x", .dims = {-1, 3, 8, 8}}};
  graph.outputs = {{.name = "y", .dims = {-1, 8, 8, 8}}};
  graph.initializers["wa"] = at::randn({8, 3, 1, 1});
  graph.initializers["ba"] = at::randn({8});
  for (const char* name : {"wb", "wd", "we"}) graph.initializers[name] = at::randn({8, 8, 1, 1});
  graph.initializers["bb"] = at::randn({8});
  graph.nodes = {MakeNode("Conv", {"x", "wa", "ba"}, "a"), MakeNode("Relu", {"a"}, "r"),
                 MakeNode("Conv", {"r", "wb", "bb"}, "b"), MakeNode("Conv", {"b", "wd"}, "d"),
                 MakeNode("Add", {"d", "b"}, "s"),         MakeNode("Conv", {"s", "we"}, "e"),
                 MakeNode("Sigmoid", {"e"}, "y")};
  return graph;
}

std::vector<std::string> ValuesOf(const QuantizationPlan& plan) {
  std::vector<std::string> values;
  for (const ActivationPlacement& placement : plan.activations) values.push_back(placement.value);
  return values;
}

// A plan without what a test asks for fails the test.
ActivationPlacement PlacementOf(const QuantizationPlan& plan, const std::string& value) {
  for (const ActivationPlacement& placement : plan.activations) {
    if (placement.value == value) return placement;
  }
  ADD_FAILURE() << "no quantizer on '" << value << "'";
  return {};
}

LayerPlan LayerOf(const QuantizationPlan& plan, const std::string& node) {
  for (const LayerPlan& layer : plan.layers) {
    if (layer.node == node) return layer;
  }
  ADD_FAILURE() << "no layer '" << node << "'";
  return {};
}

TEST(InsertQuantizersTest, Int8LayersAndSumsGetPairsOnBothSides) {
  Graph graph = Residual();
  const auto plan = InsertQuantizers(graph, Config());
  ASSERT_TRUE(plan.ok()) << plan.status();
  // The first Conv reads three channels: its weights alone are quantized.
  EXPECT_EQ(LayerOf(*plan, "a_node").compute, LayerCompute::kWeightOnly);
  EXPECT_EQ(graph.Producer("a")->inputs[0], "x");
  EXPECT_EQ(graph.Producer("a")->inputs[2], "ba");
  EXPECT_EQ(LayerOf(*plan, "b_node").compute, LayerCompute::kInt8);
  EXPECT_THAT(ValuesOf(*plan), UnorderedElementsAre("r", "b", "d", "s", "e"));
  EXPECT_EQ(PlacementOf(*plan, "r").sign, Sign::kNonNegative);
  EXPECT_EQ(PlacementOf(*plan, "s").sign, Sign::kAny);
  EXPECT_EQ(plan->weights.size(), 4u);
  EXPECT_EQ(plan->weights[0].channel_axis, 0);
  EXPECT_TRUE(graph.Verify().ok()) << graph.Verify();
  // What an int8 layer writes has the quantizer as its only reader.
  EXPECT_EQ(graph.Consumers("b").size(), 1u);
  for (const std::string& input : graph.Producer("s")->inputs) EXPECT_EQ(graph.Producer(input)->op_type, "FakeQuantize");
  const Node* bias = graph.Producer(graph.Producer("b")->inputs[2]);
  EXPECT_EQ(bias->op_type, "FakeQuantizeBias");
  EXPECT_EQ(bias->StringOr("input_quantizer", ""), "r");
  EXPECT_EQ(bias->StringOr("weight_quantizer", ""), "wb");
  EXPECT_EQ(graph.Producer("y")->op_type, "Sigmoid");
}

TEST(InsertQuantizersTest, QuantizerBehindAReluTakesItsPlace) {
  Graph graph = Residual();
  graph.initializers["wa"] = at::randn({8, 8, 1, 1});
  const auto plan = InsertQuantizers(graph, Config());
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(LayerOf(*plan, "a_node").compute, LayerCompute::kInt8);
  EXPECT_EQ(graph.Consumers("a").size(), 1u);
  EXPECT_EQ(graph.Consumers("a")[0]->op_type, "Relu");
}

TEST(InsertQuantizersTest, DepthwiseIsInt8OnlyBetweenInt8Layers) {
  for (const bool is_between : {true, false}) {
    Graph graph = Residual();
    graph.initializers["wd"] = at::randn({8, 1, 1, 1});
    graph.nodes = {MakeNode("Conv", {"x", "wa", "ba"}, "a"), MakeNode("Conv", {"a", "wb"}, "b"),
                   Depthwise(is_between ? "b" : "a", "wd", "d"), MakeNode("Conv", {"d", "we"}, "e"),
                   MakeNode("Sigmoid", {"e"}, "y")};
    graph.RemoveDeadCode();
    const auto plan = InsertQuantizers(graph, Config());
    ASSERT_TRUE(plan.ok()) << plan.status();
    EXPECT_EQ(LayerOf(*plan, "d_node").compute, is_between ? LayerCompute::kInt8 : LayerCompute::kWeightOnly);
  }
}

TEST(InsertQuantizersTest, LayersBehindAPoolingToOnePixelComputeInFloat) {
  Graph graph = Residual();
  graph.nodes = {MakeNode("Conv", {"x", "wa", "ba"}, "a"), MakeNode("GlobalAveragePool", {"a"}, "p"),
                 MakeNode("Conv", {"p", "wb"}, "b"),       MakeNode("Relu", {"b"}, "r"),
                 MakeNode("Conv", {"r", "wd"}, "d"),       MakeNode("Mul", {"a", "d"}, "m"),
                 MakeNode("Conv", {"m", "we"}, "e"),       MakeNode("Sigmoid", {"e"}, "y")};
  graph.RemoveDeadCode();
  const auto plan = InsertQuantizers(graph, Config());
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(LayerOf(*plan, "b_node").compute, LayerCompute::kWeightOnly);
  EXPECT_EQ(LayerOf(*plan, "d_node").compute, LayerCompute::kWeightOnly);
  EXPECT_EQ(LayerOf(*plan, "e_node").compute, LayerCompute::kInt8);
  EXPECT_THAT(ValuesOf(*plan), UnorderedElementsAre("m", "e"));
}

TEST(InsertQuantizersTest, BelowEightBitsEveryLayersInputIsQuantizedAndNothingElse) {
  Graph graph = Residual();
  v1::QuantizationConfig config = Config();
  config.mutable_activations()->set_bits(4);
  config.mutable_weights()->set_bits(4);
  const auto plan = InsertQuantizers(graph, config);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(ValuesOf(*plan), UnorderedElementsAre("x", "r", "b", "s"));
  // The first and the last layer keep 8 bits; those between have 4.
  EXPECT_EQ(PlacementOf(*plan, "x").bits, 8);
  EXPECT_EQ(PlacementOf(*plan, "r").bits, 4);
  EXPECT_EQ(PlacementOf(*plan, "s").bits, 8);
  EXPECT_EQ(plan->weights[0].bits, 8);
  EXPECT_EQ(plan->weights[1].bits, 4);
  // The sum keeps the finer values of `b`.
  EXPECT_EQ(graph.Producer("s")->inputs[1], "b");
}

TEST(InsertQuantizersTest, OverridesSkipLayersAndSetBits) {
  Graph graph = Residual();
  v1::QuantizationConfig config = Config();
  auto* skip = config.add_overrides();
  skip->set_name("b_*");
  skip->set_skip(true);
  auto* bits = config.add_overrides();
  bits->set_name("e_node");
  bits->set_weight_bits(4);
  auto* unused = config.add_overrides();
  unused->set_op_type("Gemm");
  const auto plan = InsertQuantizers(graph, config);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(LayerOf(*plan, "b_node").float_reason, "skipped by overrides[0]");
  EXPECT_EQ(LayerOf(*plan, "b_node").compute, LayerCompute::kFloat);
  EXPECT_THAT(LayerOf(*plan, "b_node").weight_quantizer, IsEmpty());
  EXPECT_EQ(plan->weights.back().bits, 4);
  ASSERT_EQ(plan->warnings.size(), 1u);
  EXPECT_THAT(plan->warnings[0], HasSubstr("overrides[2]"));
}

TEST(InsertQuantizersTest, ActivationsOfALayerCanStayFloatAroundQuantizedWeights) {
  Graph graph = Residual();
  v1::QuantizationConfig config = Config();
  auto* layer = config.add_overrides();
  layer->set_name("d_node");
  layer->set_activation_bits(32);
  const auto plan = InsertQuantizers(graph, config);
  ASSERT_TRUE(plan.ok()) << plan.status();
  const LayerPlan& floating = LayerOf(*plan, "d_node");
  EXPECT_EQ(floating.compute, LayerCompute::kWeightOnly);
  EXPECT_EQ(floating.float_reason, "activations in float by overrides[0]");
  EXPECT_EQ(floating.weight_quantizer, "wd");
  EXPECT_THAT(floating.input_quantizer, IsEmpty());
  EXPECT_THAT(floating.output_quantizer, IsEmpty());
  // Neither its output has a quantizer nor, so, does the sum join two; what an int8 layer writes is quantized for all readers.
  EXPECT_THAT(ValuesOf(*plan), UnorderedElementsAre("r", "b", "s", "e"));
  EXPECT_EQ(graph.Producer("s")->inputs[0], "d");
  EXPECT_EQ(graph.Producer(graph.Producer("d")->inputs[0])->op_type, "FakeQuantize");
  EXPECT_EQ(graph.Producer(graph.Producer("d")->inputs[1])->StringOr("quantizer", ""), "wd");
  EXPECT_EQ(LayerOf(*plan, "b_node").output_quantizer, "b");
  EXPECT_EQ(LayerOf(*plan, "b_node").input_quantizer, "r");
  // A later override wins.
  auto* back = config.add_overrides();
  back->set_name("d_node");
  back->set_activation_bits(8);
  Graph again = Residual();
  EXPECT_EQ(LayerOf(*InsertQuantizers(again, config), "d_node").compute, LayerCompute::kInt8);
}

TEST(InsertQuantizersTest, OverridesGiveLayersMethodsAndRangesOfTheirOwn) {
  Graph graph = Residual();
  v1::QuantizationConfig config = Config();
  auto* one = config.add_overrides();
  one->set_name("b_node");
  one->set_weight_method(v1::LSQ);
  one->set_weight_range(v1::WeightConfig::FULL);
  one->set_activation_method(v1::LSQ_PLUS);
  auto* all = config.add_overrides();
  all->set_op_type("Conv");
  all->set_weight_range(v1::WeightConfig::REDUCED);
  const auto plan = InsertQuantizers(graph, config);
  ASSERT_TRUE(plan.ok()) << plan.status();
  const auto weight_of = [&](const std::string& node) {
    const auto found =
        std::find_if(plan->weights.begin(), plan->weights.end(), [&](const WeightPlacement& weight) { return weight.node == node; });
    if (found == plan->weights.end()) ADD_FAILURE() << "no weight of " << node;
    return found == plan->weights.end() ? WeightPlacement() : *found;
  };
  // One scale for the whole weight; the later override has the last word on the range.
  EXPECT_EQ(weight_of("b_node").override_method, v1::LSQ);
  EXPECT_EQ(weight_of("b_node").channel_axis, -1);
  EXPECT_EQ(weight_of("b_node").override_range, v1::WeightConfig::REDUCED);
  EXPECT_EQ(weight_of("a_node").override_method, v1::QUANTIZER_METHOD_UNSPECIFIED);
  EXPECT_EQ(weight_of("a_node").channel_axis, 0);
  EXPECT_EQ(PlacementOf(*plan, LayerOf(*plan, "b_node").input_quantizer).override_method, v1::LSQ_PLUS);
  EXPECT_EQ(PlacementOf(*plan, LayerOf(*plan, "d_node").input_quantizer).override_method, v1::QUANTIZER_METHOD_UNSPECIFIED);
}

TEST(InsertQuantizersTest, OneWeightIsQuantizedWhereTheOthersAreNot) {
  Graph graph = Residual();
  v1::QuantizationConfig config = Config();
  config.mutable_weights()->set_method(v1::NONE);
  auto* one = config.add_overrides();
  one->set_name("b_node");
  one->set_weight_method(v1::CHANNEL_ABS_MAX);
  const auto plan = InsertQuantizers(graph, config);
  ASSERT_TRUE(plan.ok()) << plan.status();
  ASSERT_EQ(plan->weights.size(), 1u);
  EXPECT_EQ(plan->weights[0].node, "b_node");
  EXPECT_EQ(plan->weights[0].channel_axis, 0);
  EXPECT_EQ(LayerOf(*plan, "a_node").float_reason, "weights.method is NONE");
}

TEST(InsertQuantizersTest, ValuesMovedUnchangedShareTheirScale) {
  Graph graph = Residual();
  Node pool = MakeNode("MaxPool", {"b"}, "p");
  pool.attributes["kernel_shape"] = std::vector<int64_t>{2, 2};
  graph.nodes = {MakeNode("Conv", {"x", "wa", "ba"}, "a"), MakeNode("Conv", {"a", "wb"}, "b"), pool,
                 MakeNode("Conv", {"p", "we"}, "e"), MakeNode("Sigmoid", {"e"}, "y")};
  graph.RemoveDeadCode();
  v1::QuantizationConfig config = Config();
  auto* behind = config.add_overrides();
  behind->set_name("e_node");
  behind->set_activation_method(v1::LSQ);
  const auto plan = InsertQuantizers(graph, config);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(ValuesOf(*plan), UnorderedElementsAre("a", "b", "e"));
  EXPECT_EQ(LayerOf(*plan, "e_node").input_quantizer, "b");
  // What is asked for one of them holds for all.
  EXPECT_EQ(PlacementOf(*plan, "b").override_method, v1::LSQ);
  const Node* behind_pool = graph.Producer(graph.Producer("e")->inputs[0]);
  ASSERT_NE(behind_pool, nullptr);
  EXPECT_EQ(behind_pool->StringOr("quantizer", ""), "b");
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

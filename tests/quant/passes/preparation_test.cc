// The smaller passes and their runner.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/config_rules.h"
#include "quant/passes/fold_constants.h"
#include "quant/passes/fuse_matmul_add.h"
#include "quant/passes/merge_transposes.h"
#include "quant/passes/pass_runner.h"
#include "quant/passes/remove_identity.h"
#include "quant/passes/replace_decomposed_hard_swish.h"
#include "quant/passes/replace_shape_arithmetic.h"
#include "quant/passes/replace_stored_pairs.h"
#include "quant/passes/widen_floats.h"
#include "tests/quant/make_graph.h"

namespace pactory::quant {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Applies a pass; the output must stay as it was.
void Apply(absl::Status (*pass)(Graph&), Graph& graph, const at::Tensor& x, double tolerance = 0) {
  const at::Tensor before = RunGraph(graph, {x});
  ASSERT_TRUE(pass(graph).ok());
  graph.RemoveDeadCode();
  ASSERT_TRUE(graph.Verify().ok()) << graph.Verify();
  const at::Tensor after = RunGraph(graph, {x});
  ASSERT_EQ(after.sizes(), before.sizes());
  EXPECT_LE((after - before).abs().max().item<double>(), tolerance);
}

const at::Tensor kThree = at::scalar_tensor(3.0f);
const at::Tensor kSix = at::scalar_tensor(6.0f);
const at::Tensor kZero = at::scalar_tensor(0.0f);
const at::Tensor kSixth = at::scalar_tensor(1.0f / 6);

std::map<std::string, at::Tensor> HardSwishConstants() {
  return {{"three", kThree}, {"six", kSix}, {"zero", kZero}, {"sixth", kSixth}};
}

at::Tensor Ramp() { return at::linspace(-6, 6, 97); }

TEST(MergeTransposesTest, TwoBecomeOne) {
  Graph graph = GraphOf({2, 3, 4}, {NodeOf("Transpose", {"x"}, "a", {{"perm", std::vector<int64_t>{1, 2, 0}}}),
                                    NodeOf("Transpose", {"a"}, "y", {{"perm", std::vector<int64_t>{1, 0, 2}}})});
  Apply(MergeTransposes, graph, at::arange(24, at::kFloat).reshape({2, 3, 4}));
  EXPECT_THAT(OpsOf(graph), ElementsAre("Transpose"));
}

TEST(MergeTransposesTest, ThoseThatUndoEachOtherAreGone) {
  Graph graph = GraphOf({2, 3, 4}, {NodeOf("Transpose", {"x"}, "a", {{"perm", std::vector<int64_t>{1, 2, 0}}}),
                                    NodeOf("Transpose", {"a"}, "b", {{"perm", std::vector<int64_t>{2, 0, 1}}}),
                                    NodeOf("Relu", {"b"}, "y")});
  Apply(MergeTransposes, graph, at::arange(24, at::kFloat).reshape({2, 3, 4}));
  Apply(RemoveIdentity, graph, at::arange(24, at::kFloat).reshape({2, 3, 4}));
  EXPECT_THAT(OpsOf(graph), ElementsAre("Relu"));
}

TEST(MergeTransposesTest, AnOrderThatIsNoneIsLeftForTheRunToRefuse) {
  Graph graph = GraphOf({2, 3, 4}, {NodeOf("Transpose", {"x"}, "a", {{"perm", std::vector<int64_t>{1, 2, 0}}}),
                                    NodeOf("Transpose", {"a"}, "y", {{"perm", std::vector<int64_t>{1, 0, 7}}})});
  EXPECT_TRUE(MergeTransposes(graph).ok());
  EXPECT_THAT(OpsOf(graph), ElementsAre("Transpose", "Transpose"));
}

TEST(ReplaceDecomposedHardSwishTest, FindsTheProductDividedBySix) {
  for (const bool by_factor : {false, true}) {
    Graph graph = GraphOf(
        {97},
        {NodeOf("Abs", {"x"}, "v"), NodeOf("Add", {"v", "three"}, "a"), NodeOf("Clip", {"a", "zero", "six"}, "c"),
         NodeOf("Mul", {"c", "v"}, "m"), NodeOf(by_factor ? "Mul" : "Div", {"m", by_factor ? "sixth" : "six"}, "y")},
        HardSwishConstants());
    Apply(ReplaceDecomposedHardSwish, graph, Ramp(), 1e-6);
    EXPECT_THAT(OpsOf(graph), ElementsAre("Abs", "HardSwish"));
  }
}

TEST(ReplaceDecomposedHardSwishTest, FindsTheDividedGateAndHardSigmoid) {
  Graph divided = GraphOf({97},
                          {NodeOf("Add", {"three", "x"}, "a"), NodeOf("Clip", {"a", "zero", "six"}, "c"),
                           NodeOf("Div", {"c", "six"}, "d"), NodeOf("Mul", {"x", "d"}, "y")},
                          HardSwishConstants());
  Apply(ReplaceDecomposedHardSwish, divided, Ramp(), 1e-6);
  EXPECT_THAT(OpsOf(divided), ElementsAre("HardSwish"));
  Graph gate = GraphOf(
      {97}, {NodeOf("HardSigmoid", {"x"}, "g", {{"alpha", 1.0f / 6}, {"beta", 0.5f}}), NodeOf("Mul", {"g", "x"}, "y")});
  Apply(ReplaceDecomposedHardSwish, gate, Ramp(), 1e-6);
  EXPECT_THAT(OpsOf(gate), ElementsAre("HardSwish"));
}

TEST(ReplaceDecomposedHardSwishTest, OtherNumbersAndOtherReadersStay) {
  Graph slope = GraphOf(
      {97}, {NodeOf("HardSigmoid", {"x"}, "g", {{"alpha", 0.2f}, {"beta", 0.5f}}), NodeOf("Mul", {"g", "x"}, "y")});
  Apply(ReplaceDecomposedHardSwish, slope, Ramp());
  EXPECT_THAT(OpsOf(slope), ElementsAre("HardSigmoid", "Mul"));
  Graph other_value = GraphOf(
      {97}, {NodeOf("Neg", {"x"}, "v"), NodeOf("HardSigmoid", {"x"}, "g", {{"alpha", 1.0f / 6}, {"beta", 0.5f}}),
             NodeOf("Mul", {"g", "v"}, "y")});
  Apply(ReplaceDecomposedHardSwish, other_value, Ramp());
  EXPECT_EQ(other_value.nodes.size(), 3u);
  Graph read_twice = GraphOf({97}, {NodeOf("HardSigmoid", {"x"}, "g", {{"alpha", 1.0f / 6}, {"beta", 0.5f}}),
                                    NodeOf("Mul", {"g", "x"}, "m"), NodeOf("Add", {"g", "m"}, "y")});
  Apply(ReplaceDecomposedHardSwish, read_twice, Ramp());
  EXPECT_EQ(read_twice.nodes.size(), 3u);
}

TEST(FoldConstantsTest, FoldsChainsAndKeepsWhatVaries) {
  Graph graph =
      GraphOf({3}, {NodeOf("Neg", {"c"}, "n"), NodeOf("Reshape", {"n", "s"}, "r"), NodeOf("Add", {"x", "r"}, "y")},
              {{"c", at::ones({1, 3})}, {"s", at::tensor({3}, at::kLong)}});
  Apply(FoldConstants, graph, at::randn({3}));
  EXPECT_THAT(OpsOf(graph), ElementsAre("Add"));
}

TEST(FoldConstantsTest, LargeResultsOfSmallConstantsStay) {
  Graph graph = GraphOf({1}, {NodeOf("ConstantOfShape", {"s"}, "big"), NodeOf("Add", {"x", "big"}, "y")},
                        {{"s", at::tensor({1 << 20}, at::kLong)}});
  Apply(FoldConstants, graph, at::randn({1}));
  EXPECT_EQ(graph.nodes.size(), 2u);
}

TEST(FoldConstantsTest, WhatCanNotBeComputedIsLeftToTheRun) {
  Graph graph =
      GraphOf({1}, {NodeOf("Reshape", {"c", "s"}, "y")}, {{"c", at::ones({3})}, {"s", at::tensor({2, 2}, at::kLong)}});
  ASSERT_TRUE(FoldConstants(graph).ok());
  EXPECT_THAT(OpsOf(graph), ElementsAre("Reshape"));
}

TEST(ReplaceShapeArithmeticTest, BatchAndNumberBecomeAConstant) {
  // [dim 0 of x, 6], as exporters write flattening.
  Graph graph = GraphOf(
      {-1, 2, 3},
      {NodeOf("Abs", {"x"}, "v"), NodeOf("Shape", {"v"}, "s"), NodeOf("Slice", {"s", "zero", "one", "zero"}, "n"),
       NodeOf("Cast", {"n"}, "i", {{"to", int64_t{7}}}), NodeOf("Concat", {"i", "six"}, "t", {{"axis", int64_t{0}}}),
       NodeOf("Reshape", {"v", "t"}, "y")},
      {{"zero", at::tensor({0}, at::kLong)}, {"one", at::tensor({1}, at::kLong)}, {"six", at::tensor({6}, at::kLong)}});
  Apply(ReplaceShapeArithmetic, graph, at::randn({4, 2, 3}));
  EXPECT_THAT(OpsOf(graph), ElementsAre("Abs", "Reshape"));
}

TEST(ReplaceShapeArithmeticTest, GatheredDimensionsOfTheSameValueAreCopied) {
  // [dim 0, dim 1, -1]: two open dimensions can only be copies of the reshaped value's own.
  Graph graph =
      GraphOf({-1, -1, 2, 3},
              {NodeOf("Shape", {"x"}, "s"), NodeOf("Gather", {"s", "two"}, "n"),
               NodeOf("Concat", {"n", "rest"}, "t", {{"axis", int64_t{0}}}), NodeOf("Reshape", {"x", "t"}, "y")},
              {{"two", at::tensor({0, 1}, at::kLong)}, {"rest", at::tensor({-1}, at::kLong)}});
  Apply(ReplaceShapeArithmetic, graph, at::randn({4, 5, 2, 3}));
  EXPECT_THAT(OpsOf(graph), ElementsAre("Reshape"));
}

TEST(ReplaceShapeArithmeticTest, TwoUnknownDimensionsStay) {
  Graph graph =
      GraphOf({-1, 2, 3},
              {NodeOf("Transpose", {"x"}, "v"), NodeOf("Shape", {"x"}, "s"), NodeOf("Gather", {"s", "two"}, "n"),
               NodeOf("Concat", {"n", "last"}, "t", {{"axis", int64_t{0}}}), NodeOf("Reshape", {"v", "t"}, "y")},
              {{"two", at::tensor({0, 1}, at::kLong)}, {"last", at::tensor({3}, at::kLong)}});
  Apply(ReplaceShapeArithmetic, graph, at::randn({4, 2, 3}));
  EXPECT_EQ(graph.nodes.size(), 5u);
}

TEST(RemoveIdentityTest, OutputsKeepTheirNames) {
  Graph graph = GraphOf({3}, {NodeOf("Identity", {"x"}, "a"), NodeOf("Abs", {"a"}, "b"), NodeOf("Dropout", {"b"}, "c"),
                              NodeOf("Identity", {"c"}, "y")});
  Apply(RemoveIdentity, graph, at::randn({3}));
  EXPECT_THAT(OpsOf(graph), ElementsAre("Abs"));
  EXPECT_EQ(graph.nodes[0].outputs[0], "y");
}

TEST(RemoveIdentityTest, AnInputThatIsTheOutputKeepsItsNode) {
  Graph graph = GraphOf({3}, {NodeOf("Identity", {"x"}, "y")});
  Apply(RemoveIdentity, graph, at::randn({3}));
  EXPECT_EQ(graph.nodes.size(), 1u);
}

TEST(RemoveIdentityTest, CastsThatChangeTheTypeStay) {
  Graph graph =
      GraphOf({3}, {NodeOf("Cast", {"x"}, "a", {{"to", int64_t{1}}}), NodeOf("Cast", {"a"}, "b", {{"to", int64_t{7}}}),
                    NodeOf("Cast", {"b"}, "y", {{"to", int64_t{1}}})});
  Apply(RemoveIdentity, graph, at::randn({3}) * 5);
  EXPECT_THAT(OpsOf(graph), ElementsAre("Cast", "Cast"));
}

TEST(FuseMatmulAddTest, MakesOneGemmOfAMatrixProductAndItsBias) {
  Graph graph = GraphOf({-1, 2, 3},
                        {NodeOf("Flatten", {"x"}, "f"), NodeOf("Relu", {"f"}, "r"), NodeOf("MatMul", {"r", "w"}, "m"),
                         NodeOf("Add", {"b", "m"}, "y")},
                        {{"w", at::randn({6, 4})}, {"b", at::randn({4})}});
  Apply(FuseMatmulAdd, graph, at::randn({5, 2, 3}), 1e-6);
  EXPECT_THAT(OpsOf(graph), ElementsAre("Flatten", "Relu", "Gemm"));
}

TEST(FuseMatmulAddTest, ProductsOfMoreDimensionsStay) {
  Graph graph = GraphOf({-1, 2, 3}, {NodeOf("MatMul", {"x", "w"}, "m"), NodeOf("Add", {"m", "b"}, "y")},
                        {{"w", at::randn({3, 4})}, {"b", at::randn({4})}});
  Apply(FuseMatmulAdd, graph, at::randn({5, 2, 3}));
  EXPECT_THAT(OpsOf(graph), ElementsAre("MatMul", "Add"));
}

constexpr int64_t kOnnxFloat = 1, kOnnxInt64 = 7, kOnnxFloat16 = 10, kOnnxDouble = 11;

TEST(WidenFloatsTest, AHalfModelComputesInFloatAndKeepsItsInputsAndOutputsTypes) {
  const at::Tensor w = at::randn({4, 3}).to(at::kHalf), x = at::randn({5, 3}).to(at::kHalf);
  Graph graph = GraphOf({-1, 3}, {NodeOf("MatMul", {"x", "w"}, "m"), NodeOf("Relu", {"m"}, "r"), NodeOf("Shape", {"r"}, "s"),
                                  NodeOf("ConstantOfShape", {"s"}, "c", {{"value", at::ones({1}, at::kHalf)}}), NodeOf("Add", {"r", "c"}, "y")},
                        {{"w", w.t().contiguous()}});
  graph.inputs[0].type = graph.outputs[0].type = at::kHalf;
  ASSERT_TRUE(WidenFloats(graph).ok());
  ASSERT_TRUE(graph.Verify().ok()) << graph.Verify();
  EXPECT_THAT(OpsOf(graph), ElementsAre("Cast", "MatMul", "Relu", "Shape", "ConstantOfShape", "Add"));
  EXPECT_EQ(graph.inputs[0].type, at::kHalf);
  EXPECT_EQ(graph.outputs[0].type, at::kHalf);
  const at::Tensor y = RunGraph(graph, {x});
  EXPECT_EQ(y.scalar_type(), at::kFloat);
  EXPECT_TRUE(at::allclose(y, at::relu(x.to(at::kFloat).matmul(w.to(at::kFloat).t())) + 1, 1e-5, 1e-6));
}

TEST(WidenFloatsTest, CastsAroundHalfLayersAreGoneAndThoseOfIntegersStay) {
  for (const auto& [type, number] : {std::pair{at::kHalf, kOnnxFloat16}, {at::kDouble, kOnnxDouble}}) {
    Graph graph = GraphOf({-1, 3}, {NodeOf("Cast", {"x"}, "x16", {{"to", number}}), NodeOf("MatMul", {"x16", "w"}, "m"),
                                    NodeOf("Relu", {"m"}, "r"), NodeOf("Cast", {"r"}, "r32", {{"to", kOnnxFloat}}),
                                    NodeOf("Cast", {"r32"}, "whole", {{"to", kOnnxInt64}}), NodeOf("Cast", {"whole"}, "part", {{"to", number}}),
                                    NodeOf("Mul", {"part", "half"}, "p"), NodeOf("Cast", {"p"}, "y", {{"to", kOnnxFloat}})},
                          {{"w", at::randn({3, 4}).to(type)}, {"half", at::scalar_tensor(0.5, type)}});
    Apply(WidenFloats, graph, at::randn({5, 3}), 0.51);
    EXPECT_THAT(OpsOf(graph), ElementsAre("MatMul", "Relu", "Cast", "Cast", "Mul"));
    EXPECT_EQ(graph.nodes[2].IntOr("to", 0), kOnnxInt64);
    EXPECT_EQ(graph.nodes[3].IntOr("to", 0), kOnnxFloat);
    for (const auto& [name, tensor] : graph.initializers) EXPECT_EQ(tensor.scalar_type(), at::kFloat) << name;
  }
}

TEST(WidenFloatsTest, BranchesAreWidenedToo) {
  const auto branch = [](double value) {
    Graph body;
    body.opsets[""] = 13;
    body.outputs = {{.name = "out", .type = at::kHalf}};
    body.nodes = {NodeOf("ConstantOfShape", {"shape"}, "out", {{"value", at::full({1}, value, at::kHalf)}})};
    body.inputs = {{.name = "shape", .type = at::kLong, .dims = {1}}};
    body.captured = {1};
    return std::make_shared<const Graph>(std::move(body));
  };
  Graph graph = GraphOf({-1, 3}, {NodeOf("MatMul", {"x", "w"}, "m"), NodeOf("ReduceMax", {"m"}, "max", {{"keepdims", int64_t{0}}}),
                                  NodeOf("Greater", {"max", "limit"}, "c"),
                                  NodeOf("If", {"c", "four"}, "b", {{"then_branch", branch(1)}, {"else_branch", branch(2)}}),
                                  NodeOf("Add", {"m", "b"}, "y")},
                        {{"w", at::eye(3).repeat({1, 2}).slice(1, 0, 4).contiguous().to(at::kHalf)}, {"limit", at::scalar_tensor(0, at::kHalf)},
                         {"four", at::tensor({int64_t{4}})}});
  graph.inputs[0].type = at::kHalf;
  ASSERT_TRUE(WidenFloats(graph).ok());
  const at::Tensor x = at::full({1, 3}, -1, at::kHalf);
  EXPECT_TRUE(at::equal(RunGraph(graph, {x}), at::ones({1, 4})));
  EXPECT_TRUE(at::equal(RunGraph(graph, {-x}), at::full({1, 4}, 2.0f)));
}

TEST(WidenFloatsTest, AGraphWhoseLayersAreFloatStaysAsItIs) {
  Graph graph = GraphOf({-1, 3}, {NodeOf("MatMul", {"x", "w"}, "m"), NodeOf("Cast", {"m"}, "d", {{"to", kOnnxDouble}}),
                                  NodeOf("Mul", {"d", "factor"}, "p"), NodeOf("Cast", {"p"}, "y", {{"to", kOnnxFloat}})},
                        {{"w", at::randn({3, 4})}, {"factor", at::scalar_tensor(0.1, at::kDouble)}});
  Apply(WidenFloats, graph, at::randn({5, 3}));
  EXPECT_THAT(OpsOf(graph), ElementsAre("MatMul", "Cast", "Mul", "Cast"));
  EXPECT_EQ(graph.initializers.at("factor").scalar_type(), at::kDouble);
}

TEST(PassRunnerTest, NamesThePassThatBreaksTheGraph) {
  const std::vector<Pass> passes = {{"break_it", [](Graph& graph) {
                                       graph.nodes[0].inputs[0] = "gone";
                                       return absl::OkStatus();
                                     }}};
  Graph graph = GraphOf({3}, {NodeOf("Abs", {"x"}, "y")});
  EXPECT_THAT(std::string(RunPasses(passes, graph).status().message()), HasSubstr("pass break_it"));
  const std::vector<Pass> throwing = {
      {"throw_it", [](Graph&) -> absl::Status { return at::ones({2}).reshape({3}), absl::OkStatus(); }}};
  graph = GraphOf({3}, {NodeOf("Abs", {"x"}, "y")});
  EXPECT_THAT(std::string(RunPasses(throwing, graph).status().message()), HasSubstr("pass throw_it"));
}

TEST(PassRunnerTest, ReportsEveryPreparationPass) {
  Graph graph = GraphOf({3}, {NodeOf("Identity", {"x"}, "a"), NodeOf("Abs", {"a"}, "y")});
  const auto reports = PrepareGraph(graph);
  ASSERT_TRUE(reports.ok()) << reports.status();
  EXPECT_EQ(reports->size(), PreparationPasses().size());
  EXPECT_EQ(reports->back().nodes_after, 1);
}

TEST(ConfiguredPassesTest, NoneByDefaultAndBiasesAfterEqualization) {
  v1::QuantizationConfig config;
  FillDefaults(config);
  EXPECT_TRUE(ConfiguredPasses(config).empty());
  config.mutable_weights()->set_equalize(true);
  config.mutable_calibration()->set_bias_correction(true);
  std::vector<std::string> names;
  for (const Pass& pass : ConfiguredPasses(config)) names.push_back(pass.name);
  EXPECT_THAT(names, ElementsAre("equalize_layers", "own_biases"));
}

// x -> `in_front` -> Q -> DQ y, on a scale of 1/4.
Graph PairGraph(const std::string& in_front, const at::Tensor& zero_point) {
  return GraphOf({97}, {NodeOf(in_front, {"x"}, "v"), NodeOf("QuantizeLinear", {"v", "scale", "zero"}, "q"),
                        NodeOf("DequantizeLinear", {"q", "scale", "zero"}, "y")},
                 {{"scale", at::scalar_tensor(0.25f)}, {"zero", zero_point}});
}

TEST(ReplaceStoredPairsTest, APairBecomesTheClipThatItIs) {
  const at::Tensor x = 100 * Ramp();
  // uint8 from 0: (255 - 0) / 4 and 0, the Relu that an exporter leaves out.
  Graph saturating = PairGraph("Neg", at::scalar_tensor(0, at::kByte));
  ReplaceStoredPairs(saturating);
  EXPECT_THAT(OpsOf(saturating), ElementsAre("Neg", "Clip"));
  EXPECT_TRUE(at::equal(RunGraph(saturating, {x}), at::clamp(-x, 0, 63.75)));
  // int8 from -128, the same.
  Graph shifted = PairGraph("Neg", at::scalar_tensor(-128, at::kChar));
  ReplaceStoredPairs(shifted);
  EXPECT_TRUE(at::equal(RunGraph(shifted, {x}), at::clamp(-x, 0, 63.75)));
  // uint8 around 100: from -25 to 38.75, wider as a symmetric grid.
  Graph both_signs = PairGraph("Neg", at::scalar_tensor(100, at::kByte));
  ReplaceStoredPairs(both_signs);
  EXPECT_TRUE(at::equal(RunGraph(both_signs, {x}), at::clamp(-x, -38.75, 38.75)));
  // A Relu in front of int8 around 0 is part of the Clip.
  Graph behind_relu = PairGraph("Relu", at::scalar_tensor(0, at::kChar));
  ReplaceStoredPairs(behind_relu);
  EXPECT_THAT(OpsOf(behind_relu), ElementsAre("Clip"));
  EXPECT_TRUE(at::equal(RunGraph(behind_relu, {x}), at::clamp(x, 0, 32)));
}

TEST(ReplaceStoredPairsTest, ReadersOfOnePairReadOneClip) {
  Graph graph = GraphOf({97}, {NodeOf("QuantizeLinear", {"x", "scale", "zero"}, "q"),
                               NodeOf("DequantizeLinear", {"q", "scale", "zero"}, "a"),
                               NodeOf("DequantizeLinear", {"q", "scale", "zero"}, "b"), NodeOf("Add", {"a", "b"}, "y")},
                        {{"scale", at::scalar_tensor(0.25f)}, {"zero", at::scalar_tensor(0, at::kByte)}});
  ReplaceStoredPairs(graph);
  EXPECT_THAT(OpsOf(graph), ElementsAre("Clip", "Add"));
  EXPECT_TRUE(graph.Verify().ok()) << graph.Verify();
}

TEST(ReplaceStoredPairsTest, WhatIsNoPairStays) {
  Graph other_scale = PairGraph("Neg", at::scalar_tensor(0, at::kByte));
  other_scale.initializers["twice"] = at::scalar_tensor(0.5f);
  other_scale.nodes[2].inputs[1] = "twice";
  ReplaceStoredPairs(other_scale);
  EXPECT_THAT(OpsOf(other_scale), ElementsAre("Neg", "QuantizeLinear", "DequantizeLinear"));
  Graph by_channel = PairGraph("Neg", at::zeros({97}, at::kByte));
  by_channel.initializers["scale"] = at::full({97}, 0.25f);
  ReplaceStoredPairs(by_channel);
  EXPECT_THAT(OpsOf(by_channel), ElementsAre("Neg", "QuantizeLinear", "DequantizeLinear"));
}

}  // namespace
}  // namespace pactory::quant

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <onnx/onnx_pb.h>

#include <set>

#include "quant/execution/executor.h"
#include "quant/exporting/serialize_graph.h"
#include "quant/exporting/shorten_names.h"
#include "quant/exporting/size_breakdown.h"
#include "quant/exporting/upgrade_opset.h"

namespace pactory::quant {
namespace {

Node MakeNode(std::string op, std::vector<std::string> inputs, std::string output) {
  Node node;
  node.name = output + "_node";
  node.op_type = std::move(op);
  node.inputs = std::move(inputs);
  node.outputs = {std::move(output)};
  return node;
}

Graph Base(int64_t opset) {
  Graph graph;
  graph.opsets[""] = opset;
  graph.inputs = {{.name = "input", .dims = {-1, 4}}};
  graph.outputs = {{.name = "output", .dims = {-1, 4}}};
  return graph;
}

TEST(UpgradeOpsetTest, AttributesBecomeInputs) {
  Graph graph = Base(10);
  Node clip = MakeNode("Clip", {"input"}, "c");
  clip.attributes["min"] = 0.0f;
  clip.attributes["max"] = 6.0f;
  Node squeeze = MakeNode("Unsqueeze", {"c"}, "output");
  squeeze.attributes["axes"] = std::vector<int64_t>{1, 2};
  graph.nodes = {clip, squeeze};
  ASSERT_TRUE(UpgradeOpset(graph, kExportOpset).ok());
  EXPECT_EQ(graph.opset(), 14);
  EXPECT_TRUE(graph.nodes[0].attributes.empty());
  EXPECT_EQ(graph.initializers.at(graph.nodes[0].inputs[2]).item<float>(), 6.0f);
  EXPECT_TRUE(at::equal(graph.initializers.at(graph.nodes[1].inputs[1]), at::tensor({1, 2}, at::kLong)));
  EXPECT_TRUE(graph.Verify().ok()) << graph.Verify();
}

TEST(UpgradeOpsetTest, SoftmaxOfAMatrixRunsOverItsLastAxis) {
  Graph matrix = Base(11);
  matrix.nodes = {MakeNode("Softmax", {"input"}, "output")};
  ASSERT_TRUE(UpgradeOpset(matrix, kExportOpset).ok());
  ASSERT_EQ(matrix.nodes.size(), 1u);
  EXPECT_EQ(matrix.nodes[0].IntOr("axis", 0), -1);
}

// Opset 12: all axes from `axis` on share one sum.
TEST(UpgradeOpsetTest, SoftmaxOfAnyRankKeepsItsMeaning) {
  const at::Tensor x = at::randn({2, 3, 4, 5});
  for (const int64_t axis : {1, 2, 3}) {
    Graph image = Base(11);
    image.inputs[0].dims = {-1, 3, 4, 5};
    image.outputs[0] = {.name = "output", .dims = {}, .rank_known = false};
    image.nodes = {MakeNode("Relu", {"input"}, "r"), MakeNode("Softmax", {"r"}, "s"), MakeNode("Identity", {"s"}, "output")};
    image.nodes[1].attributes["axis"] = axis;
    ASSERT_TRUE(UpgradeOpset(image, kExportOpset).ok());
    ASSERT_TRUE(image.Verify().ok()) << image.Verify();
    const auto executor = Executor::Create(image);
    ASSERT_TRUE(executor.ok()) << executor.status();
    const auto outputs = (*executor)->Run({x});
    ASSERT_TRUE(outputs.ok()) << outputs.status();
    std::vector<int64_t> axes;
    for (int64_t shared = axis; shared < 4; ++shared) axes.push_back(shared);
    const at::Tensor exponentials = at::exp(at::relu(x));
    EXPECT_TRUE(at::allclose((*outputs)[0], exponentials / exponentials.sum(axes, /*keepdim=*/true), 1e-5, 1e-7)) << axis;
  }
}

TEST(UpgradeOpsetTest, SoftmaxOfAttentionRunsOverItsLastAxis) {
  Graph graph = Base(12);
  graph.initializers["shape"] = at::tensor({0, 2, 2, -1}, at::kLong);
  Node transpose = MakeNode("Transpose", {"heads"}, "keys");
  transpose.attributes["perm"] = std::vector<int64_t>{0, 1, 3, 2};
  Node softmax = MakeNode("Softmax", {"scores"}, "weights");
  softmax.attributes["axis"] = int64_t{3};
  Node flatten = MakeNode("Flatten", {"weights"}, "output");
  graph.nodes = {MakeNode("Reshape", {"input", "shape"}, "heads"), transpose, MakeNode("MatMul", {"heads", "keys"}, "scores"),
                 softmax, flatten};
  ASSERT_TRUE(UpgradeOpset(graph, kExportOpset).ok());
  EXPECT_EQ(graph.nodes[3].IntOr("axis", 0), -1);
  // No node more: the rank is known.
  EXPECT_EQ(graph.nodes.size(), 5u);
}

// What the graph computes, before and after.
void ExpectSameMeaning(Graph graph, const std::vector<at::Tensor>& inputs, int64_t target) {
  const auto run = [&](const Graph& form) {
    const auto executor = Executor::Create(form);
    EXPECT_TRUE(executor.ok()) << executor.status();
    const auto outputs = (*executor)->Run(inputs);
    EXPECT_TRUE(outputs.ok()) << outputs.status();
    return outputs->at(0);
  };
  const at::Tensor before = run(graph);
  ASSERT_TRUE(UpgradeOpset(graph, target).ok());
  EXPECT_EQ(graph.opset(), target);
  ASSERT_TRUE(graph.Verify().ok()) << graph.Verify();
  EXPECT_TRUE(at::equal(run(graph), before));
}

TEST(UpgradeOpsetTest, HardmaxHasOneWinnerInAllAxesFromItsOwnOn) {
  Graph graph = Base(12);
  graph.outputs[0] = {.name = "output", .dims = {}, .rank_known = false};
  graph.nodes = {MakeNode("Hardmax", {"input"}, "output")};
  ExpectSameMeaning(graph, {at::randn({2, 3, 4})}, kExportOpset);
}

TEST(UpgradeOpsetTest, TopKTakesItsNumberAsInput) {
  Graph graph = Base(9);
  Node top = MakeNode("TopK", {"input"}, "output");
  top.outputs.push_back("indices");
  top.attributes["k"] = int64_t{2};
  graph.nodes = {top};
  ExpectSameMeaning(graph, {at::randn({3, 4})}, kExportOpset);
  ASSERT_TRUE(UpgradeOpset(graph, kExportOpset).ok());
  EXPECT_FALSE(graph.nodes[0].Has("k"));
}

TEST(UpgradeOpsetTest, ScatterHasItsNewName) {
  Graph graph = Base(10);
  graph.initializers["indices"] = at::tensor({1, 0}, at::kLong).reshape({1, 2});
  graph.initializers["updates"] = at::tensor({5.0f, 6.0f}).reshape({1, 2});
  Node scatter = MakeNode("Scatter", {"input", "indices", "updates"}, "output");
  scatter.attributes["axis"] = int64_t{1};
  graph.nodes = {scatter};
  ExpectSameMeaning(graph, {at::randn({1, 4})}, kExportOpset);
  ASSERT_TRUE(UpgradeOpset(graph, kExportOpset).ok());
  EXPECT_EQ(graph.nodes[0].op_type, "ScatterElements");
}

TEST(UpgradeOpsetTest, RoiAlignKeepsItsCoordinates) {
  Graph graph = Base(14);
  graph.inputs[0].dims = {1, 1, 8, 8};
  graph.initializers["rois"] = at::tensor({0.4f, 0.7f, 5.3f, 6.1f}).reshape({1, 4});
  graph.initializers["batch"] = at::tensor({0}, at::kLong);
  Node align = MakeNode("RoiAlign", {"input", "rois", "batch"}, "output");
  for (const char* side : {"output_height", "output_width"}) align.attributes[side] = int64_t{2};
  graph.nodes = {align};
  ExpectSameMeaning(graph, {at::randn({1, 1, 8, 8})}, kInt4Opset);
}

TEST(UpgradeOpsetTest, AttributesWithoutEffectThatNewerOpsetsDoNotKnowAreLeftOut) {
  Graph graph = Base(8);
  for (const char* name : {"scale", "bias", "mean", "variance"}) graph.initializers[name] = at::ones({4});
  graph.nodes = {MakeNode("BatchNormalization", {"input", "scale", "bias", "mean", "variance"}, "n"), MakeNode("Dropout", {"n"}, "output")};
  graph.nodes[0].attributes["spatial"] = int64_t{1};
  graph.nodes[0].attributes["epsilon"] = 1e-3f;
  graph.nodes[1].attributes["ratio"] = 0.3f;
  ASSERT_TRUE(UpgradeOpset(graph, kExportOpset).ok());
  EXPECT_EQ(graph.nodes[0].attributes.size(), 1u);
  EXPECT_TRUE(graph.nodes[1].attributes.empty());
}

TEST(UpgradeOpsetTest, NewerGraphsStay) {
  Graph graph = Base(17);
  Node softmax = MakeNode("Softmax", {"input"}, "output");
  softmax.attributes["axis"] = int64_t{0};
  graph.nodes = {softmax};
  ASSERT_TRUE(UpgradeOpset(graph, kExportOpset).ok());
  EXPECT_EQ(graph.opset(), 17);
  EXPECT_EQ(graph.nodes[0].IntOr("axis", -9), 0);
}

TEST(ShortenNamesTest, NamesAreShortUniqueAndNeverThoseOfInputsAndOutputs) {
  Graph graph = Base(13);
  graph.inputs[0].name = "a";
  graph.outputs[0].name = "c";
  std::string previous = "a";
  for (int i = 0; i < 100; ++i) {
    const std::string weight = "a_long_weight_name_" + std::to_string(i);
    graph.initializers[weight] = at::zeros({4});
    const std::string output = i == 99 ? "c" : "a_long_value_name_" + std::to_string(i);
    graph.nodes.push_back(MakeNode("Add", {previous, weight}, output));
    previous = output;
  }
  ShortenNames(graph);
  ASSERT_TRUE(graph.Verify().ok()) << graph.Verify();
  std::set<std::string> names;
  for (const Node& node : graph.nodes) {
    names.insert(node.outputs[0]);
    EXPECT_LE(node.outputs[0].size(), 2u);
  }
  for (const auto& [name, tensor] : graph.initializers) names.insert(name);
  EXPECT_EQ(names.size(), 200u);
  EXPECT_EQ(graph.nodes[0].inputs[0], "a");
}

TEST(SerializeGraphTest, FileHoldsGraphAndItsBreakdownAddsUp) {
  Graph graph = Base(13);
  graph.initializers["w"] = at::zeros({4, 4}, at::kChar);
  graph.initializers["s"] = at::full({}, 0.5f);
  Node dequantize = MakeNode("DequantizeLinear", {"w", "s"}, "wd");
  Node gemm = MakeNode("Gemm", {"input", "wd"}, "output");
  gemm.attributes["transB"] = int64_t{1};
  gemm.attributes["alpha"] = 2.0f;
  graph.nodes = {dequantize, gemm};
  const auto bytes = SerializeGraph(graph);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  onnx::ModelProto model;
  ASSERT_TRUE(model.ParseFromString(*bytes));
  EXPECT_EQ(model.opset_import(0).version(), 13);
  EXPECT_EQ(model.graph().node(1).attribute_size(), 2);
  EXPECT_EQ(model.graph().input(0).type().tensor_type().shape().dim(1).dim_value(), 4);
  const auto sizes = BreakDownSize(*bytes);
  ASSERT_TRUE(sizes.ok());
  EXPECT_EQ(sizes->weights, 16);
  EXPECT_EQ(sizes->scales, 4);
  EXPECT_EQ(sizes->total(), static_cast<int64_t>(bytes->size()));
}

}  // namespace
}  // namespace pactory::quant

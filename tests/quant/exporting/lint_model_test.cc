#include "quant/exporting/lint_model.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "tests/quant/make_graph.h"

namespace pactory::quant {
namespace {

using testing::Contains;
using testing::IsEmpty;

at::Tensor Scalar(double value) { return at::full({}, value, at::kFloat); }

// Q/DQ -> Conv with an int32 bias -> Q/DQ, symmetric int8: what every profile but TENSORRT takes.
Graph Good() {
  Graph graph = GraphOf({-1, 8, 4, 4}, {NodeOf("QuantizeLinear", {"x", "sx", "zero"}, "xq"),
                                        NodeOf("DequantizeLinear", {"xq", "sx", "zero"}, "xd"),
                                        NodeOf("DequantizeLinear", {"w", "sw"}, "wd", {{"axis", int64_t{0}}}),
                                        NodeOf("DequantizeLinear", {"b", "sb"}, "bd", {{"axis", int64_t{0}}}),
                                        NodeOf("Conv", {"xd", "wd", "bd"}, "c"), NodeOf("QuantizeLinear", {"c", "sy", "zero"}, "cq"),
                                        NodeOf("DequantizeLinear", {"cq", "sy", "zero"}, "y")});
  graph.initializers = {{"sx", Scalar(0.5)},
                        {"sy", Scalar(0.25)},
                        {"zero", at::zeros({}, at::kChar)},
                        {"w", at::ones({4, 8, 1, 1}, at::kChar)},
                        {"sw", at::full({4}, 0.125f)},
                        {"b", at::ones({4}, at::kInt)},
                        {"sb", at::full({4}, 0.0625f)}};
  return graph;
}

// As TensorRT wants it: a float bias.
Graph GoodForTensorrt() {
  Graph graph = Good();
  graph.initializers["bd"] = at::ones({4});
  std::erase_if(graph.nodes, [](const Node& node) { return node.outputs[0] == "bd"; });
  return graph;
}

std::vector<std::string> Rules(const Graph& graph, v1::ExportConfig::Profile profile, LintSeverity severity = LintSeverity::kError) {
  std::vector<std::string> rules;
  for (const LintFinding& finding : LintModel(graph, profile)) {
    if (finding.severity == severity) rules.push_back(finding.rule);
  }
  return rules;
}

TEST(LintModelTest, GoodFilesHaveNoFindings) {
  EXPECT_THAT(LintModel(Good(), v1::ExportConfig::ORT_CPU), IsEmpty());
  EXPECT_THAT(LintModel(Good(), v1::ExportConfig::OPENVINO), IsEmpty());
  EXPECT_THAT(LintModel(GoodForTensorrt(), v1::ExportConfig::TENSORRT), IsEmpty());
}

struct Fault {
  std::string rule;
  v1::ExportConfig::Profile profile;
  std::function<void(Graph&)> make;
  LintSeverity severity = LintSeverity::kError;
};

Node& WriterOf(Graph& graph, const std::string& value) { return *graph.Producer(value); }

TEST(LintModelTest, EveryFaultIsFoundByItsRule) {
  const auto ort = v1::ExportConfig::ORT_CPU;
  const auto openvino = v1::ExportConfig::OPENVINO;
  const std::vector<Fault> faults = {
      {"opset", ort, [](Graph& graph) { graph.opsets[""] = 12; }},
      {"scale", ort, [](Graph& graph) { graph.initializers["sx"] = Scalar(0); }},
      {"scale", ort, [](Graph& graph) { graph.initializers["sy"] = Scalar(std::numeric_limits<double>::infinity()); }},
      {"scale", ort,
       [](Graph& graph) {
         graph.nodes.insert(graph.nodes.begin(), NodeOf("Identity", {"sx"}, "computed"));
         WriterOf(graph, "xq").inputs[1] = "computed";
       }},
      {"scale", ort, [](Graph& graph) { graph.initializers["zero"] = at::zeros({2}, at::kChar); }},
      {"axis", ort, [](Graph& graph) { WriterOf(graph, "wd").attributes["axis"] = int64_t{1}; }},
      {"axis", ort,
       [](Graph& graph) {
         graph.initializers["w"] = at::ones({8, 8, 1, 1}, at::kChar);
         graph.initializers["sw"] = at::full({8}, 0.125f);
         WriterOf(graph, "wd").attributes["axis"] = int64_t{1};
       }},
      {"weight-zero-point", ort,
       [](Graph& graph) {
         graph.initializers["zw"] = at::ones({4}, at::kChar);
         WriterOf(graph, "wd").inputs.push_back("zw");
       }},
      {"bias", ort, [](Graph& graph) { graph.initializers["sb"] = at::full({4}, 0.0626f); }},
      {"pair", ort,
       [](Graph& graph) {
         graph.nodes.push_back(NodeOf("Cast", {"xq"}, "other"));
         graph.outputs.push_back({.name = "other"});
       }},
      {"levels", openvino,
       [](Graph& graph) {
         graph.nodes.push_back(NodeOf("Clip", {"xq"}, "clipped"));
         WriterOf(graph, "xd").inputs[0] = "clipped";
       }},
      {"type", openvino, [](Graph& graph) { graph.initializers["zero"] = at::zeros({}, at::kShort); }},
      {"quantized", ort,
       [](Graph& graph) {
         graph.nodes = {NodeOf("Relu", {"x"}, "y")};
       }},
      {"fusion", ort,
       [](Graph& graph) {
         graph.nodes.push_back(NodeOf("Relu", {"c"}, "second"));
         graph.outputs.push_back({.name = "second"});
       },
       LintSeverity::kWarning},
      {"fusion", ort,
       [](Graph& graph) {
         graph.initializers["byte"] = at::zeros({}, at::kByte);
         WriterOf(graph, "cq").inputs[2] = "byte";
       },
       LintSeverity::kWarning},
      {"fusion", ort,
       [](Graph& graph) {
         graph.nodes.push_back(NodeOf("Clip", {"xq"}, "clipped"));
         WriterOf(graph, "xd").inputs[0] = "clipped";
       },
       LintSeverity::kWarning},
      {"pair-sum", ort, [](Graph& graph) { graph.initializers["w"] = at::full({4, 8, 1, 1}, 127, at::kChar); }, LintSeverity::kWarning},
      {"fusion", v1::ExportConfig::QOPERATOR, [](Graph&) {}, LintSeverity::kWarning},
  };
  for (size_t i = 0; i < faults.size(); ++i) {
    Graph graph = Good();
    faults[i].make(graph);
    EXPECT_THAT(Rules(graph, faults[i].profile, faults[i].severity), Contains(faults[i].rule)) << "fault " << i;
  }
}

TEST(LintModelTest, TensorrtTakesNoZeroPointsNoUint8NoIntegerBiasesAndNoOperators) {
  const auto tensorrt = v1::ExportConfig::TENSORRT;
  EXPECT_THAT(Rules(Good(), tensorrt), Contains("type"));
  Graph shifted = GoodForTensorrt();
  shifted.initializers["zero"] = at::ones({}, at::kChar);
  EXPECT_THAT(Rules(shifted, tensorrt), Contains("zero-point"));
  Graph bytes = GoodForTensorrt();
  bytes.initializers["zero"] = at::zeros({}, at::kByte);
  EXPECT_THAT(Rules(bytes, tensorrt), Contains("type"));
  Graph integers = GoodForTensorrt();
  integers.nodes.push_back(NodeOf("MatMulInteger", {"xq", "xq"}, "m"));
  integers.outputs.push_back({.name = "m"});
  EXPECT_THAT(Rules(integers, tensorrt), Contains("operator"));
  Graph residual = GoodForTensorrt();
  std::erase_if(residual.nodes, [](const Node& node) { return node.outputs[0] == "cq" || node.outputs[0] == "y"; });
  residual.nodes.push_back(NodeOf("Add", {"c", "x"}, "y"));
  EXPECT_THAT(Rules(residual, tensorrt, LintSeverity::kWarning), Contains("residual"));
  residual.nodes.back().inputs[1] = "xd";
  EXPECT_THAT(LintModel(residual, tensorrt), IsEmpty());
}

}  // namespace
}  // namespace pactory::quant

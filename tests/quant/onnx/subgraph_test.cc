// Nested graphs from the file to the run and back: what they read from outside, how they train, how they are written.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <onnx/onnx_pb.h>

#include "quant/exporting/serialize_graph.h"
#include "quant/onnx/import.h"
#include "quant/passes/pass_runner.h"
#include "tests/quant/make_graph.h"

namespace pactory::quant {
namespace {

using testing::Contains;
using testing::HasSubstr;

void AddStep(onnx::GraphProto& graph, const std::string& op, const std::vector<std::string>& inputs,
             const std::string& output) {
  onnx::NodeProto* node = graph.add_node();
  node->set_op_type(op);
  node->set_name(output + "_node");
  for (const std::string& input : inputs) node->add_input(input);
  node->add_output(output);
}

void AddNumber(onnx::GraphProto& graph, const std::string& name, float value) {
  onnx::TensorProto* tensor = graph.add_initializer();
  tensor->set_name(name);
  tensor->set_data_type(onnx::TensorProto::FLOAT);
  tensor->add_dims(1);
  tensor->add_float_data(value);
}

// c = c is what both branches call their constant, 10 in one and 100 in the other:
//   y = sum(x) > 0 ? x * w + 10 : x - 100
onnx::ModelProto Choice() {
  onnx::ModelProto model;
  model.set_ir_version(8);
  model.add_opset_import()->set_version(17);
  onnx::GraphProto& graph = *model.mutable_graph();
  onnx::ValueInfoProto* input = graph.add_input();
  input->set_name("x");
  auto* type = input->mutable_type()->mutable_tensor_type();
  type->set_elem_type(onnx::TensorProto::FLOAT);
  type->mutable_shape()->add_dim()->set_dim_param("N");
  graph.add_output()->set_name("y");
  AddNumber(graph, "w", 3);
  AddNumber(graph, "zero", 0);
  AddStep(graph, "ReduceSum", {"x"}, "sum");
  AddStep(graph, "Greater", {"sum", "zero"}, "positive");
  AddStep(graph, "If", {"positive"}, "y");
  for (const bool first : {true, false}) {
    onnx::AttributeProto* attribute = graph.mutable_node(2)->add_attribute();
    attribute->set_name(first ? "then_branch" : "else_branch");
    attribute->set_type(onnx::AttributeProto::GRAPH);
    onnx::GraphProto& branch = *attribute->mutable_g();
    branch.set_name("branch");
    AddNumber(branch, "c", first ? 10 : 100);
    if (first) AddStep(branch, "Mul", {"x", "w"}, "product");
    AddStep(branch, first ? "Add" : "Sub", {first ? "product" : "x", "c"}, "result");
    branch.add_output()->set_name("result");
  }
  return model;
}

Graph Imported(const onnx::ModelProto& model) {
  absl::StatusOr<Graph> graph = ImportOnnx(model.SerializeAsString());
  EXPECT_TRUE(graph.ok()) << graph.status();
  return graph.ok() ? *std::move(graph) : Graph();
}

const std::vector<std::pair<std::vector<float>, std::vector<float>>> kAnswers = {{{1, 2}, {13, 16}},
                                                                                {{-1, -2}, {-101, -102}}};

void ExpectAnswers(const Graph& graph) {
  for (const auto& [x, y] : kAnswers) {
    const at::Tensor result = RunGraph(graph, {at::tensor(x)});
    EXPECT_TRUE(at::equal(result, at::tensor(y))) << result;
  }
}

TEST(SubgraphTest, BranchesReadNothingButTheirInputs) {
  const Graph graph = Imported(Choice());
  const Node& node = graph.nodes.back();
  ASSERT_EQ(node.op_type, "If");
  // The condition, then what the branches read: their constants, which have names of their own outside, x and w.
  EXPECT_EQ(node.inputs.size(), 5u);
  EXPECT_THAT(node.inputs, Contains("x"));
  EXPECT_THAT(node.inputs, Contains("w"));
  EXPECT_EQ(graph.initializers.size(), 4u);
  for (const Graph* branch : node.Subgraphs()) {
    EXPECT_TRUE(branch->initializers.empty());
    EXPECT_EQ(branch->inputs.size(), branch->captured.size());
  }
  ExpectAnswers(graph);
}

TEST(SubgraphTest, WeightsOfBranchesTrain) {
  const Graph graph = Imported(Choice());
  auto executor = Executor::Create(graph);
  ASSERT_TRUE(executor.ok()) << executor.status();
  at::Tensor& weight = (*executor)->parameters().at("w");
  weight.requires_grad_(true);
  auto outputs = (*executor)->Run({at::tensor({1.0f, 2.0f})});
  ASSERT_TRUE(outputs.ok()) << outputs.status();
  outputs->at(0).sum().backward();
  // d sum(x w + 10) / dw = 1 + 2
  EXPECT_EQ(weight.grad().item<float>(), 3);
}

TEST(SubgraphTest, WrittenBranchesGiveTheSameAnswers) {
  const Graph graph = Imported(Choice());
  const absl::StatusOr<std::string> bytes = SerializeGraph(graph);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  const absl::StatusOr<Graph> again = ImportOnnx(*bytes);
  ASSERT_TRUE(again.ok()) << again.status();
  ExpectAnswers(*again);
}

TEST(SubgraphTest, KnownConditionsLeaveOneBranch) {
  for (const bool first : {true, false}) {
    onnx::ModelProto model = Choice();
    model.mutable_graph()->mutable_node(1)->set_input(0, first ? "w" : "zero");
    Graph graph = Imported(model);
    const auto reports = PrepareGraph(graph);
    ASSERT_TRUE(reports.ok()) << reports.status();
    EXPECT_EQ(OpsOf(graph), first ? std::vector<std::string>({"Mul", "Add"}) : std::vector<std::string>({"Sub"}));
    const auto& [x, y] = kAnswers[first ? 0 : 1];
    EXPECT_TRUE(at::equal(RunGraph(graph, {at::tensor(x)}), at::tensor(y)));
  }
}

TEST(SubgraphTest, UnsupportedOpsInsideAreListed) {
  onnx::ModelProto model = Choice();
  model.mutable_graph()->mutable_node(2)->mutable_attribute(1)->mutable_g()->mutable_node(0)->set_op_type("Mystery");
  const Graph graph = Imported(model);
  const absl::Status status = Executor::Create(graph).status();
  EXPECT_THAT(std::string(status.message()), testing::AllOf(HasSubstr("Mystery"), HasSubstr("result_node")));
}

TEST(SubgraphTest, ValuesThatNoGraphAroundDefinesAreNamed) {
  onnx::ModelProto model = Choice();
  model.mutable_graph()->mutable_node(2)->mutable_attribute(1)->mutable_g()->mutable_node(0)->set_input(0, "nowhere");
  const absl::Status status = ImportOnnx(model.SerializeAsString()).status();
  EXPECT_THAT(std::string(status.message()),
              testing::AllOf(HasSubstr("y_node"), HasSubstr("else_branch"), HasSubstr("nowhere")));
}

TEST(SubgraphTest, BranchesThatDoNotFitTheNodeAreRefused) {
  onnx::ModelProto model = Choice();
  model.mutable_graph()->mutable_node(2)->add_output("second");
  const absl::Status status = Executor::Create(Imported(model)).status();
  EXPECT_THAT(std::string(status.message()), testing::AllOf(HasSubstr("y_node"), HasSubstr("outputs")));
}

// f(a) = LeakyRelu(a) with the slope of the call; its default stands in a field that the protobuf does not know.
onnx::ModelProto Calls(const std::string& default_slope) {
  onnx::ModelProto model = Choice();
  onnx::GraphProto& graph = *model.mutable_graph();
  graph.clear_node();
  graph.clear_initializer();
  AddStep(graph, "f", {"x"}, "y");
  graph.mutable_node(0)->set_domain("own");
  onnx::FunctionProto* function = model.add_functions();
  function->set_name("f");
  function->set_domain("own");
  function->add_input("a");
  function->add_output("b");
  function->add_opset_import()->set_version(17);
  onnx::NodeProto* node = function->add_node();
  node->set_op_type("LeakyRelu");
  node->add_input("a");
  node->add_output("b");
  onnx::AttributeProto* slope = node->add_attribute();
  slope->set_name("alpha");
  slope->set_ref_attr_name("slope");
  slope->set_type(onnx::AttributeProto::FLOAT);
  if (!default_slope.empty()) function->mutable_unknown_fields()->AddLengthDelimited(11, default_slope);
  return model;
}

TEST(FunctionTest, TakesTheCallsAttributeOrTheDefaultOrTheOps) {
  onnx::AttributeProto slope;
  slope.set_name("slope");
  slope.set_type(onnx::AttributeProto::FLOAT);
  slope.set_f(0.25f);
  const at::Tensor x = at::tensor({-8.0f, 1.0f});
  EXPECT_FLOAT_EQ(RunGraph(Imported(Calls("")), {x})[0].item<float>(), -0.08f);
  onnx::ModelProto model = Calls(slope.SerializeAsString());
  EXPECT_EQ(RunGraph(Imported(model), {x})[0].item<float>(), -2);
  slope.set_f(0.5f);
  *model.mutable_graph()->mutable_node(0)->add_attribute() = slope;
  EXPECT_EQ(RunGraph(Imported(model), {x})[0].item<float>(), -4);
}

TEST(FunctionTest, OfAnotherOpsetIsRefused) {
  onnx::ModelProto model = Calls("");
  model.mutable_functions(0)->mutable_opset_import(0)->set_version(11);
  const absl::Status status = ImportOnnx(model.SerializeAsString()).status();
  EXPECT_THAT(std::string(status.message()), testing::AllOf(HasSubstr("function=f"), HasSubstr("opset=11")));
}

}  // namespace
}  // namespace pactory::quant

#include "quant/onnx/import.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <onnx/onnx_pb.h>

#include <random>

#include "tests/quant/make_graph.h"

namespace pactory::quant {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

void AddNode(onnx::GraphProto& graph, const std::string& op, const std::vector<std::string>& inputs,
             const std::string& output, const std::string& name) {
  onnx::NodeProto* node = graph.add_node();
  node->set_op_type(op);
  node->set_name(name);
  for (const std::string& input : inputs) node->add_input(input);
  node->add_output(output);
}

void AddValue(onnx::ValueInfoProto* value, const std::string& name) {
  value->set_name(name);
  auto* type = value->mutable_type()->mutable_tensor_type();
  type->set_elem_type(onnx::TensorProto::FLOAT);
  type->mutable_shape()->add_dim()->set_dim_param("N");
  type->mutable_shape()->add_dim()->set_dim_value(2);
}

// y = relu(x + w)
onnx::ModelProto Model() {
  onnx::ModelProto model;
  model.set_ir_version(8);
  model.add_opset_import()->set_version(13);
  onnx::GraphProto& graph = *model.mutable_graph();
  AddValue(graph.add_input(), "x");
  AddValue(graph.add_output(), "y");
  onnx::TensorProto* weight = graph.add_initializer();
  weight->set_name("w");
  weight->set_data_type(onnx::TensorProto::FLOAT);
  weight->add_dims(2);
  weight->add_float_data(1);
  weight->add_float_data(-2);
  AddNode(graph, "Add", {"x", "w"}, "sum", "");
  AddNode(graph, "Relu", {"sum"}, "y", "");
  return model;
}

absl::StatusOr<Graph> Import(const onnx::ModelProto& model) { return ImportOnnx(model.SerializeAsString()); }

std::string Problem(const onnx::ModelProto& model) {
  const absl::StatusOr<Graph> graph = Import(model);
  EXPECT_FALSE(graph.ok());
  return std::string(graph.status().message());
}

TEST(ImportTest, ReadsNodesValuesAndWeights) {
  const absl::StatusOr<Graph> graph = Import(Model());
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(graph->opset(), 13);
  EXPECT_THAT(OpsOf(*graph), ElementsAre("Add", "Relu"));
  EXPECT_THAT(graph->inputs[0].dims, ElementsAre(-1, 2));
  EXPECT_FALSE(graph->nodes[0].name.empty());
  EXPECT_NE(graph->nodes[0].name, graph->nodes[1].name);
  const at::Tensor y = RunGraph(*graph, {at::tensor({0.5f, 5.0f}).reshape({1, 2})});
  EXPECT_TRUE(at::equal(y, at::tensor({1.5f, 3.0f}).reshape({1, 2})));
}

TEST(ImportTest, InputsWithAnInitializerAreNoInputs) {
  onnx::ModelProto model = Model();
  AddValue(model.mutable_graph()->add_input(), "w");
  const absl::StatusOr<Graph> graph = Import(model);
  ASSERT_TRUE(graph.ok());
  EXPECT_EQ(graph->inputs.size(), 1u);
}

TEST(ImportTest, ConstantNodesBecomeInitializersAndOrderIsMadeRight) {
  onnx::ModelProto model = Model();
  onnx::NodeProto* constant = model.mutable_graph()->add_node();
  constant->set_op_type("Constant");
  constant->add_output("c");
  onnx::AttributeProto* value = constant->add_attribute();
  value->set_name("value_float");
  value->set_type(onnx::AttributeProto::FLOAT);
  value->set_f(4);
  model.mutable_graph()->mutable_node(0)->set_input(1, "c");
  const absl::StatusOr<Graph> graph = Import(model);
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(graph->nodes.size(), 2u);
  EXPECT_EQ(graph->initializers.at("c").item<float>(), 4);
}

TEST(ImportTest, RefusesWhatIsNoModel) {
  EXPECT_THAT(std::string(ImportOnnx("").status().message()), HasSubstr("empty"));
  EXPECT_THAT(std::string(ImportOnnx("this is a text file").status().message()), HasSubstr("ONNX"));
  onnx::ModelProto no_graph;
  no_graph.add_opset_import()->set_version(13);
  no_graph.set_ir_version(8);
  EXPECT_THAT(Problem(no_graph), HasSubstr("graph"));
}

TEST(ImportTest, EveryTruncationIsAnsweredWithAStatus) {
  const std::string bytes = Model().SerializeAsString();
  for (size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_FALSE(ImportOnnx(bytes.substr(0, length)).ok()) << "length " << length;
  }
}

TEST(ImportTest, DamagedBytesNeverCrash) {
  const std::string bytes = Model().SerializeAsString();
  std::mt19937 random(1);
  for (int round = 0; round < 3000; ++round) {
    std::string damaged = bytes;
    for (int change = 0; change < 1 + round % 4; ++change)
      damaged[random() % damaged.size()] = static_cast<char>(random());
    const absl::StatusOr<Graph> graph = ImportOnnx(damaged);
    if (graph.ok()) Executor::Create(*graph).status().IgnoreError();
  }
}

TEST(ImportTest, RefusesExternalData) {
  onnx::ModelProto model = Model();
  onnx::TensorProto* weight = model.mutable_graph()->mutable_initializer(0);
  weight->set_data_location(onnx::TensorProto::EXTERNAL);
  onnx::StringStringEntryProto* location = weight->add_external_data();
  location->set_key("location");
  location->set_value("/etc/passwd");
  EXPECT_THAT(Problem(model), testing::AllOf(HasSubstr("external"), HasSubstr("tensor=w")));
}

TEST(ImportTest, RefusesTensorsWhoseDataDoesNotFit) {
  onnx::ModelProto model = Model();
  onnx::TensorProto* weight = model.mutable_graph()->mutable_initializer(0);
  weight->clear_float_data();
  weight->set_raw_data(std::string(7, '\0'));
  EXPECT_THAT(Problem(model), HasSubstr("tensor=w"));
  // Dims whose product overflows must not reach the allocator.
  weight->set_dims(0, int64_t{1} << 62);
  weight->add_dims(int64_t{1} << 62);
  EXPECT_THAT(Problem(model), HasSubstr("tensor=w"));
  weight->set_dims(0, -1);
  EXPECT_THAT(Problem(model), HasSubstr("negative"));
}

TEST(ImportTest, RefusesTypesWithoutATensor) {
  onnx::ModelProto model = Model();
  model.mutable_graph()->mutable_initializer(0)->set_data_type(onnx::TensorProto::STRING);
  EXPECT_THAT(Problem(model), testing::AllOf(HasSubstr("STRING"), HasSubstr("tensor=w")));
}

TEST(ImportTest, RefusesDuplicateAndUndefinedNames) {
  onnx::ModelProto model = Model();
  AddNode(*model.mutable_graph(), "Abs", {"x"}, "sum", "again");
  EXPECT_THAT(Problem(model), testing::AllOf(HasSubstr("again"), HasSubstr("sum")));
  model = Model();
  model.mutable_graph()->mutable_node(1)->set_input(0, "nowhere");
  EXPECT_THAT(Problem(model), testing::AllOf(HasSubstr("Relu"), HasSubstr("nowhere")));
  model = Model();
  model.mutable_graph()->mutable_output(0)->set_name("nothing");
  EXPECT_THAT(Problem(model), HasSubstr("nothing"));
}

TEST(ImportTest, RefusesNamesThatNoMessageCouldCarry) {
  for (const std::string& name : {std::string("a\xff"), std::string("cut\xe4\xb8"), std::string(5000, 'n')}) {
    onnx::ModelProto model = Model();
    model.mutable_graph()->mutable_node(1)->set_op_type(name);
    EXPECT_THAT(Problem(model), HasSubstr("UTF-8"));
    model = Model();
    model.mutable_graph()->mutable_node(1)->set_name(name);
    EXPECT_THAT(Problem(model), HasSubstr("UTF-8"));
  }
  onnx::ModelProto model = Model();
  model.mutable_graph()->mutable_node(1)->set_name("卷积");
  EXPECT_TRUE(Import(model).ok());
}

TEST(ImportTest, RefusesCycles) {
  onnx::ModelProto model = Model();
  model.mutable_graph()->mutable_node(0)->set_input(1, "y");
  EXPECT_THAT(Problem(model), HasSubstr("cycle"));
}

TEST(ImportTest, RefusesOpsetsOutsideTheRange) {
  onnx::ModelProto model = Model();
  model.mutable_opset_import(0)->set_version(6);
  EXPECT_THAT(Problem(model), HasSubstr("opset=6"));
  model.mutable_opset_import(0)->set_version(kNewestOpset + 1);
  EXPECT_EQ(Import(model).status().code(), absl::StatusCode::kUnimplemented);
}

TEST(ImportTest, RefusesInputsThatAreNoTensors) {
  onnx::ModelProto model = Model();
  model.mutable_graph()->mutable_input(0)->mutable_type()->mutable_sequence_type();
  EXPECT_THAT(Problem(model), HasSubstr("name=x"));
}

TEST(ImportTest, MissingFilesAreNamed) {
  const absl::StatusOr<Graph> graph = ImportOnnxFile("/nonexistent/model.onnx");
  EXPECT_EQ(graph.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(graph.status().message()), HasSubstr("/nonexistent/model.onnx"));
}

}  // namespace
}  // namespace pactory::quant

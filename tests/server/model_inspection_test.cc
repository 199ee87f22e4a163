#include "server/model_inspection.h"

#include <algorithm>

#include "base/error.h"
#include "gtest/gtest.h"
#include "tests/server/sample_files.h"

namespace pactory {
namespace {

absl::Status Inspect(const std::string& file, v1::Model& model) {
  return InspectModel(
      static_cast<int64_t>(file.size()),
      [&](int64_t offset, int64_t size) -> absl::StatusOr<std::string> { return file.substr(offset, size); }, model);
}

absl::Status Inspect(const onnx::ModelProto& file) {
  v1::Model model;
  return Inspect(file.SerializeAsString(), model);
}

void ExpectBad(const absl::Status& status, const std::string& says) {
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << says << ": " << status;
  EXPECT_EQ(FieldOf(status), "model.blob");
  EXPECT_EQ(ReasonOf(status), "BAD_MODEL");
  EXPECT_NE(std::string(status.message()).find(says), std::string::npos) << status;
}

TEST(ModelInspectionTest, TellsWhatTheFileHolds) {
  onnx::ModelProto file = SmallModel();
  auto& loop = *file.mutable_graph()->add_node();
  loop.set_op_type("If");
  loop.set_name("branch");
  auto& attribute = *loop.add_attribute();
  attribute.set_name("then_branch");
  auto& inner = *attribute.mutable_g()->add_node();
  inner.set_op_type("FusedConv");
  inner.set_domain("com.microsoft");
  inner.add_output("inner_out");
  auto& constant = *file.mutable_graph()->add_node();
  constant.set_op_type("Constant");
  constant.set_name("k");
  auto& value = *constant.add_attribute();
  value.mutable_t()->set_data_type(onnx::TensorProto::FLOAT);
  value.mutable_t()->add_dims(5);
  // Old files list their weights as inputs too.
  file.mutable_graph()->add_input()->set_name("w");
  file.mutable_graph()->mutable_input(1)->mutable_type()->mutable_tensor_type()->set_elem_type(
      onnx::TensorProto::FLOAT);

  v1::Model model;
  const absl::Status status = Inspect(file.SerializeAsString(), model);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(model.opset(), 13);
  ASSERT_EQ(model.inputs_size(), 1);
  EXPECT_EQ(model.inputs(0).name(), "x");
  EXPECT_EQ(model.inputs(0).element_type(), "float");
  EXPECT_EQ(std::vector<int64_t>(model.inputs(0).dims().begin(), model.inputs(0).dims().end()),
            (std::vector<int64_t>{-1, 3, 4, 4}));
  ASSERT_EQ(model.outputs_size(), 1);
  EXPECT_EQ(model.parameter_count(), 6 + 5);
  std::string ops;
  for (const v1::OpCount& op : model.ops()) ops += op.op() + "(" + op.nodes(0) + ") ";
  EXPECT_EQ(ops, "Constant(k) Conv(conv1) If(branch) com.microsoft.FusedConv(output inner_out) ");
}

TEST(ModelInspectionTest, FunctionsOfTheModelsOwnAreNoOpsButTheirNodesAre) {
  onnx::ModelProto file = SmallModel();
  auto& call = *file.mutable_graph()->add_node();
  call.set_op_type("Block");
  call.set_domain("mine");
  auto& function = *file.add_functions();
  function.set_name("Block");
  function.set_domain("mine");
  function.add_node()->set_op_type("Erf");
  v1::Model model;
  const absl::Status status = Inspect(file.SerializeAsString(), model);
  ASSERT_TRUE(status.ok()) << status;
  std::vector<std::string> ops;
  for (const v1::OpCount& op : model.ops()) ops.push_back(op.op());
  EXPECT_NE(std::find(ops.begin(), ops.end(), "Erf"), ops.end());
  EXPECT_EQ(std::find(ops.begin(), ops.end(), "mine.Block"), ops.end());
}

TEST(ModelInspectionTest, MoreNodesThanAreListedAreCounted) {
  onnx::ModelProto file = SmallModel();
  for (int i = 0; i < 50; ++i) *file.mutable_graph()->add_node() = file.graph().node(0);
  v1::Model model;
  ASSERT_TRUE(Inspect(file.SerializeAsString(), model).ok());
  EXPECT_EQ(model.ops(0).count(), 51);
  EXPECT_EQ(model.ops(0).nodes_size(), 20);
}

TEST(ModelInspectionTest, AnEmptyFileIsRefused) {
  v1::Model model;
  ExpectBad(Inspect("", model), "empty");
}

TEST(ModelInspectionTest, EveryTruncationIsRefused) {
  const std::string file = SmallModel().SerializeAsString();
  for (size_t size = 1; size < file.size(); ++size) {
    v1::Model model;
    const absl::Status status = Inspect(file.substr(0, size), model);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << size << " of " << file.size() << ": " << status;
  }
}

TEST(ModelInspectionTest, RandomBytesAreRefused) {
  uint32_t state = 1;
  for (int round = 0; round < 2000; ++round) {
    std::string file(1 + round % 300, '\0');
    for (char& c : file) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
    v1::Model model;
    EXPECT_TRUE(absl::IsInvalidArgument(Inspect(file, model))) << round;
  }
}

TEST(ModelInspectionTest, OneFlippedByteNeverCrashes) {
  const std::string file = SmallModel().SerializeAsString();
  for (size_t at = 0; at < file.size(); ++at) {
    for (const int flip : {1, 0x80, 0xff}) {
      std::string damaged = file;
      damaged[at] = static_cast<char>(damaged[at] ^ flip);
      v1::Model model;
      const absl::Status status = Inspect(damaged, model);
      EXPECT_TRUE(status.ok() || absl::IsInvalidArgument(status)) << at << ": " << status;
    }
  }
}

TEST(ModelInspectionTest, ExternalDataIsRefusedByTensor) {
  onnx::ModelProto file = SmallModel();
  file.mutable_graph()->mutable_initializer(0)->set_data_location(onnx::TensorProto::EXTERNAL);
  ExpectBad(Inspect(file), "tensor=w");
  file = SmallModel();
  file.mutable_graph()->mutable_initializer(0)->add_external_data()->set_key("location");
  ExpectBad(Inspect(file), "external data");
  file = SmallModel();
  auto& attribute = *file.mutable_graph()->mutable_node(0)->add_attribute();
  attribute.mutable_g()->add_initializer()->add_external_data()->set_key("location");
  ExpectBad(Inspect(file), "external data");
}

TEST(ModelInspectionTest, WhatAModelMustHaveIsNamed) {
  onnx::ModelProto file = SmallModel();
  file.mutable_graph()->clear_input();
  ExpectBad(Inspect(file), "must have an input");
  file = SmallModel();
  file.mutable_graph()->clear_output();
  ExpectBad(Inspect(file), "must have an output");
  file = SmallModel();
  file.mutable_graph()->clear_node();
  ExpectBad(Inspect(file), "must have nodes");
  file = SmallModel();
  file.clear_graph();
  ExpectBad(Inspect(file), "holds no graph");
  file = SmallModel();
  file.clear_opset_import();
  ExpectBad(Inspect(file), "opset");
  file = SmallModel();
  file.mutable_graph()->mutable_node(0)->clear_op_type();
  ExpectBad(Inspect(file), "node=conv1");
}

TEST(ModelInspectionTest, ImpossibleWeightsAreRefused) {
  for (const int64_t dim : {int64_t{1} << 62, int64_t{-1}}) {
    onnx::ModelProto file = SmallModel();
    file.mutable_graph()->mutable_initializer(0)->add_dims(dim);
    file.mutable_graph()->mutable_initializer(0)->add_dims(dim);
    ExpectBad(Inspect(file), "tensor=w");
  }
}

TEST(ModelInspectionTest, DeepNestingEndsInAnErrorNotInTheStack) {
  // Each level is a node with a subgraph; written by hand, for protobuf's own parser would refuse it too.
  std::string graph;
  const auto field = [](int number, const std::string& content) {
    std::string out(1, static_cast<char>(number << 3 | 2));
    size_t size = content.size();
    for (; size >= 0x80; size >>= 7) out.push_back(static_cast<char>(size | 0x80));
    out.push_back(static_cast<char>(size));
    return out + content;
  };
  for (int depth = 0; depth < 5000; ++depth) graph = field(1, field(4, "If") + field(5, field(6, graph)));
  v1::Model model;
  ExpectBad(Inspect(field(7, graph), model), "nest");
}

TEST(ModelInspectionTest, WeightsAreSkippedNotRead) {
  onnx::ModelProto file = SmallModel();
  file.mutable_graph()->mutable_initializer(0)->set_raw_data(std::string(64 << 20, 'w'));
  const std::string bytes = file.SerializeAsString();
  int64_t read = 0;
  v1::Model model;
  const absl::Status status = InspectModel(
      static_cast<int64_t>(bytes.size()),
      [&](int64_t offset, int64_t size) -> absl::StatusOr<std::string> {
        read += size;
        return bytes.substr(offset, size);
      },
      model);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_LE(read, 4 << 20);
}

TEST(ModelInspectionTest, AnErrorOfTheStoreIsNotTheModelsFault) {
  v1::Model model;
  const absl::Status status = InspectModel(
      100, [](int64_t, int64_t) -> absl::StatusOr<std::string> { return absl::UnavailableError("db"); }, model);
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
}

TEST(ModelInspectionTest, NamesThatAreNotUtf8AreRefused) {
  std::string file = SmallModel().SerializeAsString();
  const size_t at = file.find("conv1");
  file[at] = '\xff';
  v1::Model model;
  ExpectBad(Inspect(file, model), "UTF-8");
}

}  // namespace
}  // namespace pactory

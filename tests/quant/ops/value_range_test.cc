#include "quant/ops/value_range.h"

#include <gtest/gtest.h>

#include "quant/ops/registry.h"
#include "tests/quant/make_graph.h"

namespace pactory::quant {
namespace {

TEST(ValueRangeTest, FollowsOpsThatKeepTheSign) {
  const Graph graph =
      GraphOf({-1, 2, 4, 4},
              {NodeOf("Relu", {"x"}, "r"), NodeOf("MaxPool", {"r"}, "p"), NodeOf("Sigmoid", {"x"}, "s"),
               NodeOf("Mul", {"p", "s"}, "m"), NodeOf("Sub", {"m", "s"}, "d"), NodeOf("Reshape", {"m", "shape"}, "f"),
               NodeOf("Add", {"x", "m"}, "a"), NodeOf("Add", {"m", "bias"}, "b"), NodeOf("Identity", {"f"}, "y")},
              {{"shape", at::tensor({0, -1}, at::kLong)}, {"bias", at::tensor({-1.0f})}});
  for (const char* value : {"r", "p", "s", "m", "f", "y"}) EXPECT_TRUE(IsNonNegative(graph, value)) << value;
  for (const char* value : {"x", "d", "a", "b", "bias", "missing"}) EXPECT_FALSE(IsNonNegative(graph, value)) << value;
}

TEST(ValueRangeTest, ClipCountsWhereItsLowerBoundIsAtLeastZero) {
  const std::map<std::string, at::Tensor> bounds = {
      {"zero", at::scalar_tensor(0.0f)}, {"minus", at::scalar_tensor(-1.0f)}, {"six", at::scalar_tensor(6.0f)}};
  const Graph graph = GraphOf({2},
                              {NodeOf("Clip", {"x", "zero", "six"}, "a"), NodeOf("Clip", {"x", "minus", "six"}, "b"),
                               NodeOf("Clip", {"x", "", "six"}, "c"), NodeOf("Clip", {"x", "a", "six"}, "d"),
                               NodeOf("Sum", {"a", "b", "c", "d"}, "y")},
                              bounds);
  EXPECT_TRUE(IsNonNegative(graph, "a"));
  for (const char* value : {"b", "c", "d", "y"}) EXPECT_FALSE(IsNonNegative(graph, value)) << value;
}

TEST(RegistryTest, EveryOpIsWhole) {
  for (const OpDefinition* op : AllOps()) {
    EXPECT_TRUE(op->bind) << op->name;
    EXPECT_LE(op->first_opset, op->last_opset) << op->name;
    EXPECT_EQ(op->role == QuantizationRole::kWeighted, op->weight_input >= 0 && op->channel_axis) << op->name;
    EXPECT_EQ(FindOp(op->domain, op->name, op->first_opset), op) << op->name << " is registered twice";
  }
}

TEST(RegistryTest, OpsAreFoundByOpsetAndDomain) {
  EXPECT_EQ(FindOp("", "Upsample", 10), nullptr);
  EXPECT_NE(FindOp("", "Upsample", 9), nullptr);
  EXPECT_NE(FindOp("ai.onnx", "Conv", 13), nullptr);
  EXPECT_EQ(FindOp("com.example", "Conv", 13), nullptr);
}

}  // namespace
}  // namespace pactory::quant

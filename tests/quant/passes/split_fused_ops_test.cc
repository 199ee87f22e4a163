#include "quant/passes/split_fused_ops.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/quant/make_graph.h"

namespace pactory::quant {
namespace {

using testing::ElementsAre;

Graph Fused(std::string op, std::vector<std::string> inputs, std::map<std::string, Attribute> attributes,
            std::map<std::string, at::Tensor> initializers, std::vector<int64_t> dims) {
  Node node = NodeOf(std::move(op), std::move(inputs), "y", std::move(attributes));
  node.domain = "com.microsoft";
  Graph graph = GraphOf(std::move(dims), {node}, std::move(initializers));
  graph.opsets["com.microsoft"] = 1;
  return graph;
}

void ExpectSame(const Graph& before, const Graph& after, const at::Tensor& x) {
  EXPECT_TRUE(at::allclose(RunGraph(before, {x}), RunGraph(after, {x}), 1e-5, 1e-6));
}

TEST(SplitFusedOpsTest, ConvolutionsBecomeLayerSumAndActivation) {
  at::manual_seed(1);
  const Graph before = Fused("FusedConv", {"x", "w", "b", "z"},
                             {{"activation", std::string("Clip")}, {"activation_params", std::vector<float>{-1, 1}}},
                             {{"w", at::randn({3, 2, 2, 2})}, {"b", at::randn({3})}, {"z", at::randn({1, 3, 3, 3})}},
                             {1, 2, 4, 4});
  Graph after = before;
  ASSERT_TRUE(SplitFusedOps(after).ok());
  EXPECT_THAT(OpsOf(after), ElementsAre("Conv", "Add", "Clip"));
  EXPECT_TRUE(after.Verify().ok()) << after.Verify();
  ExpectSame(before, after, at::randn({1, 2, 4, 4}));
}

TEST(SplitFusedOpsTest, ProductsWithAConstantBecomeMatMul) {
  at::manual_seed(1);
  const Graph before = Fused("FusedMatMul", {"x", "w"}, {{"alpha", 0.5f}, {"transB", int64_t{1}}},
                             {{"w", at::randn({3, 4})}}, {2, 4});
  Graph after = before;
  ASSERT_TRUE(SplitFusedOps(after).ok());
  EXPECT_THAT(OpsOf(after), ElementsAre("MatMul", "Mul"));
  ExpectSame(before, after, at::randn({2, 4}));
}

TEST(SplitFusedOpsTest, ProductsOfActivationsStay) {
  Graph graph = Fused("FusedMatMul", {"x", "x"}, {{"transA", int64_t{1}}}, {}, {2, 2});
  ASSERT_TRUE(SplitFusedOps(graph).ok());
  EXPECT_THAT(OpsOf(graph), ElementsAre("FusedMatMul"));
}

TEST(SplitFusedOpsTest, ActivationsThatAreNotKnownStay) {
  Graph graph = Fused("FusedGemm", {"x", "w"}, {{"activation", std::string("Softmax")}}, {{"w", at::ones({2, 2})}}, {2, 2});
  ASSERT_TRUE(SplitFusedOps(graph).ok());
  EXPECT_THAT(OpsOf(graph), ElementsAre("FusedGemm"));
}

}  // namespace
}  // namespace pactory::quant

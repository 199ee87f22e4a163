#include "quant/passes/own_biases.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/quant/make_graph.h"

namespace pactory::quant {
namespace {

TEST(OwnBiasesTest, EachLayerHasOneAndTheModelStaysAsItIs) {
  at::manual_seed(1);
  Graph graph = GraphOf({-1, 4, 5, 5},
                        {NodeOf("Conv", {"x", "w1"}, "a"), NodeOf("Conv", {"a", "w1", "b"}, "c"), NodeOf("Conv", {"c", "w1", "b"}, "d"),
                         NodeOf("ConvTranspose", {"d", "w2", ""}, "e", {{"group", int64_t{2}}}),
                         NodeOf("GlobalAveragePool", {"e"}, "p"), NodeOf("Flatten", {"p"}, "f"), NodeOf("Gemm", {"f", "w3"}, "y")},
                        {{"w1", at::randn({4, 4, 3, 3})}, {"b", at::randn({4})}, {"w2", at::randn({4, 3, 2, 2})}, {"w3", at::randn({6, 2})}});
  const at::Tensor x = at::randn({2, 4, 9, 9}), before = RunGraph(graph, {x});
  ASSERT_TRUE(OwnBiases(graph).ok());
  graph.RemoveDeadCode();
  ASSERT_TRUE(graph.Verify().ok()) << graph.Verify();
  EXPECT_TRUE(at::allclose(RunGraph(graph, {x}), before, 1e-6, 1e-6));
  const std::pair<size_t, int64_t> channels[] = {{0, 4}, {1, 4}, {2, 4}, {3, 6}, {6, 2}};
  for (const auto& [node, count] : channels) {
    const std::string& bias = graph.nodes[node].inputs.at(2);
    EXPECT_EQ(graph.initializers.at(bias).numel(), count) << node;
    EXPECT_EQ(graph.Consumers(bias).size(), 1u) << node;
  }
}

}  // namespace
}  // namespace pactory::quant

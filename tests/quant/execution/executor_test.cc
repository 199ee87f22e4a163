#include "quant/execution/executor.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/quant/make_graph.h"

namespace pactory::quant {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(ExecutorTest, RunsDiamondsAndFetchesValuesBetween) {
  const Graph graph =
      GraphOf({2}, {NodeOf("Neg", {"x"}, "a"), NodeOf("Abs", {"a"}, "b"), NodeOf("Add", {"a", "b"}, "y")});
  auto executor = Executor::Create(graph);
  ASSERT_TRUE(executor.ok()) << executor.status();
  const auto values = (*executor)->RunAndFetch({at::tensor({1.0f, -2.0f})}, {"a", "x", "y"});
  ASSERT_TRUE(values.ok()) << values.status();
  EXPECT_TRUE(at::equal(values->at(0), at::tensor({0.0f, 4.0f})));
  EXPECT_TRUE(at::equal(values->at(1), at::tensor({-1.0f, 2.0f})));
  EXPECT_TRUE(at::equal(values->at(2), at::tensor({1.0f, -2.0f})));
  EXPECT_TRUE(at::equal(values->at(3), values->at(0)));
}

TEST(ExecutorTest, ElementwiseNodesRunAsOneAndOneByOneWhereAValueBetweenIsAskedFor) {
  // A sum of two branches that wait for each other, a product with one value for each channel, and activations.
  const Graph graph = GraphOf({2, 3, 4, 5},
                              {NodeOf("Relu", {"x"}, "a"), NodeOf("HardSwish", {"a"}, "b"), NodeOf("Neg", {"x"}, "c"), NodeOf("Add", {"c", "b"}, "d"),
                               NodeOf("GlobalAveragePool", {"x"}, "e"), NodeOf("Mul", {"e", "d"}, "f"), NodeOf("Relu", {"f"}, "y")});
  const auto chains = FindChains(graph, nullptr);
  ASSERT_EQ(chains.size(), 1U);
  EXPECT_EQ(chains[0].size(), 5U);
  auto executor = Executor::Create(graph);
  ASSERT_TRUE(executor.ok()) << executor.status();
  const at::Tensor x = at::randn({2, 3, 4, 5}), b = at::hardswish(at::relu(x)), d = b - x;
  const at::Tensor y = at::relu(x.mean({2, 3}, true) * d);
  const auto fused = (*executor)->Run({x});
  ASSERT_TRUE(fused.ok()) << fused.status();
  EXPECT_TRUE(at::allclose(fused->at(0), y));
  const auto values = (*executor)->RunAndFetch({x}, {"b", "d"});
  ASSERT_TRUE(values.ok()) << values.status();
  EXPECT_TRUE(at::equal(values->at(0), fused->at(0)));
  EXPECT_TRUE(at::allclose(values->at(1), b));
  EXPECT_TRUE(at::allclose(values->at(2), d));
  const auto alone = (*executor)->Fetch({x}, {"b"});
  ASSERT_TRUE(alone.ok()) << alone.status();
  EXPECT_TRUE(at::allclose(alone->at(0), b));
}

TEST(ExecutorTest, AChainEndsWhereAValueHasAnotherReader) {
  const Graph read_twice = GraphOf({2}, {NodeOf("Relu", {"x"}, "a"), NodeOf("HardSwish", {"a"}, "b"), NodeOf("Add", {"b", "a"}, "y")});
  const auto chains = FindChains(read_twice, nullptr);
  ASSERT_EQ(chains.size(), 1U);
  EXPECT_EQ(chains[0].size(), 2U);
  EXPECT_EQ(chains[0][0].node, 1U);
  Graph given_out = GraphOf({2}, {NodeOf("Relu", {"x"}, "a"), NodeOf("HardSwish", {"a"}, "y")});
  given_out.outputs.push_back({.name = "a"});
  EXPECT_TRUE(FindChains(given_out, nullptr).empty());
  const Graph constant = GraphOf({2}, {NodeOf("Add", {"x", "w"}, "a"), NodeOf("Relu", {"a"}, "y")}, {{"w", at::ones({2})}});
  EXPECT_TRUE(FindChains(constant, nullptr).empty());
}

TEST(ExecutorTest, FetchRunsNoFurtherThanTheLastValueAskedFor) {
  // The product does not fit: whoever runs it fails.
  const Graph graph = GraphOf({2, 3}, {NodeOf("Abs", {"x"}, "a"), NodeOf("Neg", {"a"}, "b"), NodeOf("MatMul", {"b", "w"}, "y")},
                              {{"w", at::ones({4, 4})}});
  auto executor = Executor::Create(graph);
  ASSERT_TRUE(executor.ok());
  const at::Tensor x = -at::ones({2, 3});
  const auto values = (*executor)->Fetch({x}, {"b", "w", "x"});
  ASSERT_TRUE(values.ok()) << values.status();
  EXPECT_TRUE(at::equal(values->at(0), x));
  EXPECT_TRUE(at::equal(values->at(1), at::ones({4, 4})));
  EXPECT_TRUE(at::equal(values->at(2), x));
  EXPECT_FALSE((*executor)->Fetch({x}, {"y"}).ok());
  EXPECT_FALSE((*executor)->Fetch({x}, {"z"}).ok());
}

TEST(ExecutorTest, InputsAndConstantsMayBeOutputs) {
  Graph graph = GraphOf({2}, {}, {{"y", at::ones({2})}});
  graph.outputs.push_back({.name = "x"});
  auto executor = Executor::Create(graph);
  ASSERT_TRUE(executor.ok()) << executor.status();
  const auto values = (*executor)->Run({at::zeros({2})});
  ASSERT_TRUE(values.ok());
  EXPECT_TRUE(at::equal(values->at(0), at::ones({2})));
  EXPECT_TRUE(at::equal(values->at(1), at::zeros({2})));
}

TEST(ExecutorTest, UnknownOpsAreListedAllAtOnce) {
  Graph graph = GraphOf({2}, {NodeOf("FancyOp", {"x"}, "a"), NodeOf("Abs", {"a"}, "b"), NodeOf("Other", {"b"}, "y")});
  graph.nodes[2].domain = "com.example";
  const auto executor = Executor::Create(graph);
  EXPECT_EQ(executor.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(ReasonOf(executor.status()), "UNSUPPORTED_OP");
  EXPECT_THAT(std::string(executor.status().message()),
              AllOf(HasSubstr("FancyOp (node a_node"), HasSubstr("Other (node y_node, domain com.example")));
  EXPECT_EQ(UnsupportedNodes(graph).size(), 2u);
}

TEST(ExecutorTest, ErrorsNameTheNode) {
  const Graph graph =
      GraphOf({2, 3}, {NodeOf("Abs", {"x"}, "a"), NodeOf("MatMul", {"a", "w"}, "y")}, {{"w", at::ones({4, 4})}});
  auto executor = Executor::Create(graph);
  ASSERT_TRUE(executor.ok());
  const auto values = (*executor)->Run({at::zeros({2, 3})});
  EXPECT_EQ(values.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(values.status().message()), HasSubstr("node y_node (MatMul)"));
}

TEST(ExecutorTest, BadAttributesAreRefusedBeforeTheRun) {
  const Graph graph =
      GraphOf({1, 1, 4, 4}, {NodeOf("Conv", {"x", "w"}, "y", {{"strides", std::vector<int64_t>{0, 1}}})},
              {{"w", at::ones({1, 1, 1, 1})}});
  EXPECT_THAT(std::string(Executor::Create(graph).status().message()),
              AllOf(HasSubstr("y_node"), HasSubstr("strides")));
}

TEST(ExecutorTest, MissingInputsAreRefused) {
  auto executor = Executor::Create(GraphOf({2}, {NodeOf("Abs", {"x"}, "y")}));
  EXPECT_FALSE((*executor)->Run({}).ok());
  EXPECT_FALSE((*executor)->Run({at::Tensor()}).ok());
  EXPECT_FALSE((*executor)->RunAndFetch({at::ones({2})}, {"nowhere"}).ok());
}

TEST(ExecutorTest, ANodeThatLacksAnInputIsAnErrorAndNoCrash) {
  Graph graph = GraphOf({2}, {NodeOf("Add", {"x"}, "y")});
  auto executor = Executor::Create(graph);
  ASSERT_TRUE(executor.ok());
  EXPECT_FALSE((*executor)->Run({at::ones({2})}).ok());
}

TEST(ExecutorTest, ChannelsLastDoesNotChangeResults) {
  at::manual_seed(1);
  const at::Tensor x = at::randn({2, 8, 9, 7});
  const at::Tensor weight = at::randn({8, 1, 3, 3});
  const Graph graph =
      GraphOf({-1, 8, -1, -1},
              {NodeOf("Conv", {"x", "w"}, "a", {{"group", int64_t{8}}, {"pads", std::vector<int64_t>{1, 1, 1, 1}}}),
               NodeOf("Relu", {"a"}, "b"), NodeOf("Flatten", {"b"}, "y")},
              {{"w", weight}});
  const at::Tensor expected =
      at::relu(at::conv2d(x, weight, {}, /*stride=*/1, /*padding=*/1, /*dilation=*/1, /*groups=*/8)).flatten(1);
  EXPECT_TRUE(at::allclose(RunGraph(graph, {x}), expected, 1e-5, 1e-6));
}

TEST(ExecutorTest, GradientsReachTheParameters) {
  const Graph graph = GraphOf({2}, {NodeOf("Mul", {"x", "w"}, "a"), NodeOf("ReduceSum", {"a"}, "y")},
                              {{"w", at::tensor({3.0f, 4.0f})}});
  auto executor = Executor::Create(graph);
  ASSERT_TRUE(executor.ok());
  at::Tensor& weight = (*executor)->parameters().at("w");
  weight.requires_grad_(true);
  const auto values = (*executor)->Run({at::tensor({5.0f, 6.0f})});
  ASSERT_TRUE(values.ok());
  values->at(0).sum().backward();
  EXPECT_TRUE(at::equal(weight.grad(), at::tensor({5.0f, 6.0f})));
  // Another executor of the same graph has parameters of its own.
  auto other = Executor::Create(graph);
  weight.data().fill_(0);
  EXPECT_EQ((*other)->parameters().at("w")[0].item<float>(), 3);
}

TEST(ExecutorTest, ReplacedParametersAreUsedFromTheNextRunOn) {
  auto executor = Executor::Create(GraphOf({1}, {NodeOf("Add", {"x", "w"}, "y")}, {{"w", at::ones({1})}}));
  (*executor)->parameters()["w"] = at::full({1}, 10.0f);
  EXPECT_EQ((*executor)->Run({at::ones({1})})->at(0).item<float>(), 11);
}

TEST(ExecutorTest, QuantizerNodesComeFromTheFactory) {
  Graph graph = GraphOf({1}, {NodeOf("FakeQuantize", {"x"}, "y")});
  graph.nodes[0].domain = "pactory";
  EXPECT_FALSE(Executor::Create(graph).ok());
  auto executor = Executor::Create(graph, [](const Node&) -> absl::StatusOr<Kernel> {
    return Kernel([](at::ArrayRef<at::Tensor> inputs) -> std::vector<at::Tensor> { return {inputs[0] * 2}; });
  });
  ASSERT_TRUE(executor.ok());
  EXPECT_EQ((*executor)->Run({at::ones({1})})->at(0).item<float>(), 2);
}

}  // namespace
}  // namespace pactory::quant

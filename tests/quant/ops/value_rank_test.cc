#include "quant/ops/value_rank.h"

#include <gtest/gtest.h>

#include "tests/quant/make_graph.h"

namespace pactory::quant {
namespace {

TEST(ValueRankTest, FollowsOpsWhoseRankIsPlain) {
  const std::vector<int64_t> perm = {2, 0, 3, 1, 4};
  const Graph graph = GraphOf(
      {-1, 3, 48, -1},
      {NodeOf("Conv", {"x", "w"}, "conv"), NodeOf("Reshape", {"conv", "computed"}, "hidden"),
       NodeOf("Transpose", {"hidden"}, "heads", {{"perm", perm}}), NodeOf("Squeeze", {"heads"}, "q", {{"axes", std::vector<int64_t>{0}}}),
       NodeOf("MatMul", {"q", "q"}, "scores"), NodeOf("Reshape", {"scores", "shape"}, "flat"),
       NodeOf("Unsqueeze", {"flat", "axes"}, "u"), NodeOf("ReduceMean", {"u"}, "kept", {{"axes", std::vector<int64_t>{1}}}),
       NodeOf("ReduceMean", {"u"}, "less", {{"axes", std::vector<int64_t>{1}}, {"keepdims", int64_t{0}}}),
       NodeOf("Add", {"flat", "bias"}, "sum"), NodeOf("Add", {"hidden", "bias"}, "unknown"), NodeOf("Identity", {"sum"}, "y")},
      {{"w", at::zeros({8, 3, 3, 3})},
       {"shape", at::tensor({0, -1}, at::kLong)},
       {"axes", at::tensor({1, 2}, at::kLong)},
       {"bias", at::zeros({4})}});
  const std::map<std::string, int64_t> expected = {{"x", 4}, {"conv", 4}, {"heads", 5}, {"q", 4},    {"scores", 4}, {"flat", 2},
                                                   {"u", 4}, {"kept", 4}, {"less", 3},  {"sum", 2}, {"y", 2},      {"bias", 1}};
  for (const auto& [value, rank] : expected) EXPECT_EQ(RankOf(graph, value), rank) << value;
  for (const char* value : {"hidden", "unknown", "missing"}) EXPECT_FALSE(RankOf(graph, value).has_value()) << value;
}

}  // namespace
}  // namespace pactory::quant

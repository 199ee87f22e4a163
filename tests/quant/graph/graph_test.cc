#include "quant/graph/graph.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/quant/make_graph.h"

namespace pactory::quant {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(GraphTest, SortPutsProducersFirstAndKeepsTheOrderOtherwise) {
  Graph graph = GraphOf({1}, {NodeOf("Neg", {"b"}, "y"), NodeOf("Abs", {"x"}, "a"), NodeOf("Exp", {"a"}, "b")});
  ASSERT_TRUE(graph.Sort().ok());
  EXPECT_THAT(OpsOf(graph), ElementsAre("Abs", "Exp", "Neg"));
  EXPECT_TRUE(graph.Verify().ok());
}

TEST(GraphTest, SortNamesANodeOfACycle) {
  Graph graph = GraphOf({1}, {NodeOf("Add", {"x", "b"}, "a"), NodeOf("Abs", {"a"}, "b"), NodeOf("Neg", {"x"}, "y")});
  const absl::Status status = graph.Sort();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("node=a_node"));
}

TEST(GraphTest, VerifyNamesWhatIsWrong) {
  Graph graph = GraphOf({1}, {NodeOf("Abs", {"missing"}, "y")});
  EXPECT_THAT(std::string(graph.Verify().message()), HasSubstr("node=y_node input=missing"));
  graph = GraphOf({1}, {NodeOf("Abs", {"x"}, "a")});
  EXPECT_THAT(std::string(graph.Verify().message()), HasSubstr("output=y"));
  graph = GraphOf({1}, {NodeOf("Abs", {"x"}, "y"), NodeOf("Neg", {"x"}, "y")});
  EXPECT_FALSE(graph.Verify().ok());
}

TEST(GraphTest, DeadCodeGoesWithItsConstants) {
  Graph graph = GraphOf({1}, {NodeOf("Abs", {"x"}, "y"), NodeOf("Add", {"x", "c"}, "unread")},
                        {{"c", at::ones({1})}, {"d", at::ones({1})}});
  graph.RemoveDeadCode();
  EXPECT_THAT(OpsOf(graph), ElementsAre("Abs"));
  EXPECT_TRUE(graph.initializers.empty());
}

TEST(GraphTest, NewNamesMeetNoOthers) {
  const Graph graph = GraphOf({1}, {NodeOf("Abs", {"x"}, "y")}, {{"y_1", at::ones({1})}});
  EXPECT_EQ(graph.UniqueValueName("y"), "y_2");
  EXPECT_EQ(graph.UniqueValueName("z"), "z");
  EXPECT_EQ(graph.UniqueNodeName("y_node"), "y_node_1");
}

TEST(GraphTest, AttributesOfAnotherTypeGiveTheFallback) {
  const Node node = NodeOf("Abs", {"x"}, "y", {{"axis", int64_t{3}}, {"mode", std::string("edge")}});
  EXPECT_EQ(node.IntOr("axis", 0), 3);
  EXPECT_EQ(node.IntOr("mode", 7), 7);
  EXPECT_EQ(node.StringOr("axis", "none"), "none");
  EXPECT_TRUE(node.Has("mode"));
}

}  // namespace
}  // namespace pactory::quant

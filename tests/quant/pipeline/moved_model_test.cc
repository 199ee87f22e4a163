#include "quant/pipeline/moved_model.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/quant/make_graph.h"

namespace pactory::quant {
namespace {

Node QuantizedValue(const std::string& value) {
  Node node = NodeOf("FakeQuantize", {value}, value + "_q", {{"quantizer", value}});
  node.domain = "pactory";
  return node;
}

QuantizerSpec StepOfOne(const std::string& id) {
  QuantizerSpec spec;
  spec.id = id;
  spec.method = v1::ABS_MAX;
  spec.threshold = 127;
  return spec;
}

// Steps of 1: 0.5 is the middle of two, and which one it goes to hangs on the last bits; 0.4 and 0.6 stay.
TEST(MovedModelTest, OnlyValuesInTheMiddleOfTwoStepsGoElsewhere) {
  const at::Tensor x = at::tensor({0.5f, 0.4f, 0.6f, -2.0f}).repeat({1, 500});
  auto model = MakeMovedModel(GraphOf({-1, 2000}, {NodeOf("Neg", {"x"}, "h"), QuantizedValue("h"), NodeOf("Neg", {"h_q"}, "y")}), {StepOfOne("h")});
  ASSERT_TRUE(model.ok()) << model.status();
  const at::Tensor first = (*(*model)->executor().Run({x}))[0].reshape({500, 4});
  EXPECT_GT(first.select(1, 0).sum().item<double>(), 100);
  EXPECT_LT(first.select(1, 0).sum().item<double>(), 400);
  EXPECT_TRUE(at::equal(first.slice(1, 1), at::tensor({0.0f, 1.0f, -2.0f}).repeat({500, 1})));
  // Another draw.
  EXPECT_FALSE(at::equal(first, (*(*model)->executor().Run({x}))[0].reshape({500, 4})));
}

TEST(MovedModelTest, InputOfTheModelStays) {
  const at::Tensor x = at::full({1, 1000}, 0.5f);
  auto model = MakeMovedModel(GraphOf({-1, 1000}, {QuantizedValue("x"), NodeOf("Neg", {"x_q"}, "y")}), {StepOfOne("x")});
  ASSERT_TRUE(model.ok()) << model.status();
  // Half to even.
  EXPECT_EQ((*(*model)->executor().Run({x}))[0].abs().max().item<float>(), 0);
}

}  // namespace
}  // namespace pactory::quant

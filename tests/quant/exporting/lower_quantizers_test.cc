// The lowered graph, run through the executor's own Q/DQ ops, computes what the trained model computes.
#include "quant/exporting/lower_quantizers.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/config_rules.h"
#include "quant/quantizers/grid.h"
#include "tests/quant/make_graph.h"

namespace pactory::quant {
namespace {

// Layers of every kind: weight-only, int8 with and without bias, a sum, behind Relu (unsigned) and not (signed), Gemm.
Graph EveryKind() {
  at::manual_seed(3);
  Graph graph = GraphOf({-1, 3, 8, 8}, {NodeOf("Conv", {"x", "w1", "b1"}, "c1"), NodeOf("Relu", {"c1"}, "r1"),
                                        NodeOf("Conv", {"r1", "w2", "b2"}, "c2"), NodeOf("Conv", {"c2", "w3"}, "c3"),
                                        NodeOf("Add", {"c3", "r1"}, "s"), NodeOf("GlobalAveragePool", {"s"}, "p"),
                                        NodeOf("Flatten", {"p"}, "f"), NodeOf("Gemm", {"f", "w4", "b4"}, "y")});
  graph.outputs[0].dims = {-1, 5};
  graph.initializers = {{"w1", at::randn({8, 3, 3, 3})}, {"b1", at::randn({8})},  {"w2", at::randn({8, 8, 1, 1})},
                        {"b2", at::randn({8})},          {"w3", at::randn({8, 8, 1, 1})}, {"w4", at::randn({8, 5})},
                        {"b4", at::randn({5})}};
  return graph;
}

struct Lowered {
  Graph graph;
  at::Tensor trained;
  at::Tensor stored;
};

Lowered Lower(v1::QuantizerMethod method, int bits, v1::QuantizerMethod weight_method = v1::CHANNEL_ABS_MAX) {
  v1::QuantizationConfig config;
  FillDefaults(config);
  config.mutable_activations()->set_bits(bits);
  config.mutable_weights()->set_bits(bits);
  config.mutable_weights()->set_method(weight_method);
  Graph graph = EveryKind();
  const auto plan = InsertQuantizers(graph, config);
  EXPECT_TRUE(plan.ok()) << plan.status();
  std::vector<QuantizerSpec> specs;
  for (const ActivationPlacement& placement : plan->activations) {
    specs.push_back({.id = placement.id,
                     .method = method,
                     .bits = placement.bits,
                     .signedness = placement.sign == Sign::kNonNegative ? Signedness::kUnsigned : Signedness::kSigned,
                     .threshold = 6.3,
                     .low = -2.1});
  }
  for (const WeightPlacement& placement : plan->weights) {
    specs.push_back({.id = placement.id,
                     .method = weight_method,
                     .bits = placement.bits,
                     .target = QuantizerTarget::kWeight,
                     .channel_axis = placement.channel_axis,
                     .range = v1::WeightConfig::REDUCED});
  }
  auto model = QuantizedModel::Create(graph, specs);
  EXPECT_TRUE(model.ok()) << model.status();
  for (const auto& quantizer : (*model)->quantizers()) {
    // As training leaves them: no range where it started.
    for (const LearnedValue& value : quantizer->learned()) value.tensor->detach().mul_(at::rand_like(*value.tensor) * 0.2 + 0.9);
  }
  const at::Tensor x = at::randn({100, 3, 8, 8});
  std::vector<std::string> warnings;
  auto lowered = LowerQuantizers(**model, *plan, warnings);
  EXPECT_TRUE(lowered.ok()) << lowered.status();
  EXPECT_TRUE(warnings.empty());
  return {*lowered, (*model)->executor().Run({x})->at(0).detach(), RunGraph(*lowered, {x})};
}

TEST(LowerQuantizersTest, StoredModelComputesWhatTheTrainedOneDoes) {
  for (const v1::QuantizerMethod method : {v1::PACT_TWO_SIDED, v1::ABS_MAX, v1::LSQ, v1::LSQ_PLUS, v1::AFFINE}) {
    for (const int bits : {8, 4, 2}) {
      const Lowered lowered = Lower(method, bits);
      // A sum in another order may fall to the other side of a tie in a few samples; another zero point, scale or bias would
      // show in all.
      const at::Tensor largest = (lowered.trained - lowered.stored).abs().amax(1);
      EXPECT_LE(largest.gt(1e-4).sum().item<int64_t>(), 10) << v1::QuantizerMethod_Name(method) << " at " << bits << " bits";
    }
  }
}

TEST(LowerQuantizersTest, LearnedRangesOfWeightsAreStored) {
  for (const v1::QuantizerMethod method : {v1::CHANNEL_LSQ, v1::LSQ, v1::CHANNEL_MSE}) {
    for (const int bits : {8, 3}) {
      const Lowered lowered = Lower(v1::PACT_TWO_SIDED, bits, method);
      const at::Tensor largest = (lowered.trained - lowered.stored).abs().amax(1);
      EXPECT_LE(largest.gt(1e-4).sum().item<int64_t>(), 10) << v1::QuantizerMethod_Name(method) << " at " << bits << " bits";
    }
  }
}

TEST(LowerQuantizersTest, IntegersAreStoredAndNothingOfOursRemains) {
  const Lowered lowered = Lower(v1::PACT_TWO_SIDED, 8);
  int int8 = 0, int32 = 0;
  for (const auto& [name, tensor] : lowered.graph.initializers) {
    int8 += tensor.scalar_type() == at::kChar && tensor.numel() > 8;
    int32 += tensor.scalar_type() == at::kInt;
    // Zero points, and the ends of [-127, 127].
    if (tensor.scalar_type() != at::kByte) continue;
    EXPECT_THAT(tensor.item<int>(), testing::AnyOf(0, 128, 1, 255)) << name;
  }
  EXPECT_EQ(int8, 4);
  // b2 and b4: the first layer is computed in float, the third has no bias.
  EXPECT_EQ(int32, 2);
  for (const Node& node : lowered.graph.nodes) EXPECT_EQ(node.domain, "") << node.op_type;
}

}  // namespace
}  // namespace pactory::quant

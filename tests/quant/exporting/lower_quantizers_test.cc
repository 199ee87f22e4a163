// The lowered graph, run through the executor's own Q/DQ ops, computes what the trained model computes.
#include "quant/exporting/lower_quantizers.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "config/config_rules.h"
#include "quant/exporting/fuse_to_qoperators.h"
#include "quant/exporting/lint_model.h"
#include "quant/exporting/upgrade_opset.h"
#include "quant/passes/profile_rules.h"
#include "quant/quantizers/grid.h"
#include "tests/quant/make_graph.h"

namespace pactory::quant {
namespace {

using testing::IsEmpty;
using testing::UnorderedElementsAre;

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

Lowered Lower(v1::QuantizerMethod method, int bits, v1::ExportConfig output = {}, v1::QuantizerMethod weight_method = v1::CHANNEL_ABS_MAX) {
  v1::QuantizationConfig config;
  *config.mutable_export_() = output;
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
                     .signedness = placement.sign == Sign::kNonNegative                   ? Signedness::kUnsigned
                                   : HasFullSignedGrid(config.export_(), placement.bits) ? Signedness::kSignedFull
                                                                                          : Signedness::kSigned,
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
  std::map<std::string, int64_t> raised_channels;
  auto lowered = LowerQuantizers(**model, *plan, config.export_(), raised_channels);
  EXPECT_TRUE(lowered.ok()) << lowered.status();
  EXPECT_TRUE(raised_channels.empty());
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

TEST(LowerQuantizersTest, LayerInFloatBetweenQuantizedValuesHasAMaxBehindIt) {
  const auto values_of = [](const Lowered& lowered) {
    std::vector<std::string> inputs;
    for (const Node& node : lowered.graph.nodes) {
      if (node.op_type == "Max") inputs.push_back(node.inputs[0]);
    }
    return inputs;
  };
  // Below 8 bits each layer reads a quantized value, and two give theirs to a QuantizeLinear; at 8 bits the layer that does is int8.
  const Lowered lowered = Lower(v1::PACT_TWO_SIDED, 4);
  EXPECT_THAT(values_of(lowered), UnorderedElementsAre("r1", "c2"));
  EXPECT_THAT(values_of(Lower(v1::PACT_TWO_SIDED, 8)), IsEmpty());
  for (const Node& node : lowered.graph.nodes) {
    if (node.op_type != "Max") continue;
    ASSERT_EQ(lowered.graph.Consumers(node.outputs[0]).size(), 1u);
    EXPECT_EQ(lowered.graph.Consumers(node.outputs[0])[0]->op_type, "QuantizeLinear");
    // The grid of a Relu begins at 0, the symmetric one of 4 bits at -7.
    const double scale = lowered.graph.initializers.at(lowered.graph.Consumers(node.outputs[0])[0]->inputs[1]).item<float>();
    EXPECT_NEAR(lowered.graph.initializers.at(node.inputs[1]).item<float>(), node.inputs[0] == "r1" ? 0 : -7 * scale, 1e-6);
  }
}

TEST(LowerQuantizersTest, LearnedRangesOfWeightsAreStored) {
  for (const v1::QuantizerMethod method : {v1::CHANNEL_LSQ, v1::LSQ, v1::CHANNEL_MSE}) {
    for (const int bits : {8, 3}) {
      const Lowered lowered = Lower(v1::PACT_TWO_SIDED, bits, {}, method);
      const at::Tensor largest = (lowered.trained - lowered.stored).abs().amax(1);
      EXPECT_LE(largest.gt(1e-4).sum().item<int64_t>(), 10) << v1::QuantizerMethod_Name(method) << " at " << bits << " bits";
    }
  }
}

v1::ExportConfig Output(v1::ExportConfig::Profile profile) {
  v1::ExportConfig output;
  output.set_profile(profile);
  return output;
}

// Samples in which the stored model is not the trained one.
int64_t Differing(const Lowered& lowered) {
  return (lowered.trained - lowered.stored).abs().amax(1).gt(1e-4).sum().item<int64_t>();
}

bool HasErrors(const Graph& graph, v1::ExportConfig::Profile profile) {
  const auto findings = LintModel(graph, profile);
  return std::any_of(findings.begin(), findings.end(), [](const auto& finding) { return finding.severity == LintSeverity::kError; });
}

int64_t CountOps(const Graph& graph, const std::string& op) {
  return std::count_if(graph.nodes.begin(), graph.nodes.end(), [&](const Node& node) { return node.op_type == op; });
}

TEST(LowerQuantizersTest, EveryProfileStoresWhatWasTrainedAndKeepsToItsRules) {
  for (const auto profile : {v1::ExportConfig::ORT_CPU, v1::ExportConfig::OPENVINO, v1::ExportConfig::TENSORRT}) {
    const Lowered lowered = Lower(v1::PACT_TWO_SIDED, 8, Output(profile));
    EXPECT_LE(Differing(lowered), 10) << v1::ExportConfig::Profile_Name(profile);
    EXPECT_FALSE(HasErrors(lowered.graph, profile)) << v1::ExportConfig::Profile_Name(profile);
  }
}

TEST(LowerQuantizersTest, Int8ActivationsAreTheSameGridMoved) {
  v1::ExportConfig output = Output(v1::ExportConfig::ORT_CPU);
  output.set_activation_type(v1::ExportConfig::INT8);
  const Lowered moved = Lower(v1::LSQ_PLUS, 8, output), plain = Lower(v1::LSQ_PLUS, 8);
  EXPECT_TRUE(at::equal(moved.stored, plain.stored));
  for (const auto& [name, tensor] : moved.graph.initializers) EXPECT_NE(tensor.scalar_type(), at::kByte) << name;
}

TEST(LowerQuantizersTest, Int8ActivationsOfEightBitsFillTheirTypeWithoutAClip) {
  v1::ExportConfig output = Output(v1::ExportConfig::ORT_CPU);
  output.set_activation_type(v1::ExportConfig::INT8);
  const Lowered lowered = Lower(v1::PACT_TWO_SIDED, 8, output);
  EXPECT_LT((lowered.trained - lowered.stored).abs().max().item<float>(), 1e-4);
  for (const auto& [name, tensor] : lowered.graph.initializers) EXPECT_NE(tensor.scalar_type(), at::kByte) << name;
  for (const Node& node : lowered.graph.nodes) {
    if (node.op_type != "Clip") continue;
    const Node* writer = std::as_const(lowered.graph).Producer(node.inputs[0]);
    EXPECT_TRUE(writer == nullptr || writer->op_type != "QuantizeLinear") << node.name;
  }
}

TEST(LowerQuantizersTest, TensorrtHasZeroPointsOfZeroFloatBiasesAndAQuantizedResidual) {
  const Lowered lowered = Lower(v1::ABS_MAX, 8, Output(v1::ExportConfig::TENSORRT));
  for (const auto& [name, tensor] : lowered.graph.initializers) {
    EXPECT_TRUE(tensor.scalar_type() == at::kFloat || tensor.scalar_type() == at::kChar) << name;
  }
  EXPECT_EQ(CountOps(lowered.graph, "Clip"), 0);
  for (const Node& node : lowered.graph.nodes) {
    if (node.op_type == "QuantizeLinear") EXPECT_EQ(lowered.graph.initializers.at(node.inputs[2]).item<int>(), 0);
    if (node.op_type != "Add") continue;
    EXPECT_EQ(lowered.graph.Producer(node.inputs[0])->op_type, "Conv");
    EXPECT_EQ(lowered.graph.Producer(node.inputs[1])->op_type, "DequantizeLinear");
  }
}

TEST(LowerQuantizersTest, FourBitWeightsArePackedWhereAsked) {
  v1::ExportConfig output = Output(v1::ExportConfig::ORT_CPU);
  output.set_pack_int4(true);
  const Lowered packed = Lower(v1::PACT_TWO_SIDED, 4, output), plain = Lower(v1::PACT_TWO_SIDED, 4);
  EXPECT_TRUE(at::allclose(packed.stored, plain.stored, 0, 1e-6));
  int int4 = 0;
  for (const auto& [name, tensor] : packed.graph.initializers) int4 += tensor.scalar_type() == at::kInt4;
  // The first and the last layer keep 8 bits.
  EXPECT_EQ(int4, 2);
}

TEST(LowerQuantizersTest, QoperatorsTakeThePlaceOfEveryPairAroundAProduct) {
  Lowered lowered = Lower(v1::PACT_TWO_SIDED, 8, Output(v1::ExportConfig::QOPERATOR));
  ASSERT_TRUE(UpgradeOpset(lowered.graph, kExportOpset).ok());
  FuseToQoperators(lowered.graph);
  ASSERT_TRUE(lowered.graph.Verify().ok()) << lowered.graph.Verify();
  EXPECT_EQ(CountOps(lowered.graph, "QLinearConv"), 2);
  EXPECT_EQ(CountOps(lowered.graph, "QLinearAdd"), 1);
  EXPECT_EQ(CountOps(lowered.graph, "QGemm"), 1);
  // The first layer is computed in float.
  EXPECT_EQ(CountOps(lowered.graph, "Conv"), 1);
  EXPECT_FALSE(HasErrors(lowered.graph, v1::ExportConfig::QOPERATOR));
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

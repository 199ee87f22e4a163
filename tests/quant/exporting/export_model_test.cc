#include "quant/exporting/export_model.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <onnx/onnx_pb.h>

#include <cmath>

#include "config/config_rules.h"
#include "tests/quant/make_graph.h"

namespace pactory::quant {
namespace {

// A pointwise Conv whose third output channel has no weights, but a bias, in front of a Relu.
TEST(ExportModelTest, DeadChannelsAreCountedAndTheirBiasesFit32Bits) {
  at::manual_seed(7);
  Graph graph = GraphOf({-1, 8, 4, 4}, {NodeOf("Conv", {"x", "w", "b"}, "c"), NodeOf("Relu", {"c"}, "r"),
                                        NodeOf("GlobalAveragePool", {"r"}, "y")},
                        {{"w", at::randn({4, 8, 1, 1})}, {"b", at::ones({4})}});
  graph.initializers.at("w")[2].zero_();
  v1::QuantizationConfig config;
  FillDefaults(config);
  const auto plan = InsertQuantizers(graph, config);
  ASSERT_TRUE(plan.ok()) << plan.status();
  std::vector<QuantizerSpec> specs;
  for (const ActivationPlacement& placement : plan->activations) {
    specs.push_back({.id = placement.id,
                     .method = v1::ABS_MAX,
                     .signedness = placement.sign == Sign::kNonNegative ? Signedness::kUnsigned : Signedness::kSigned,
                     .threshold = 8});
  }
  specs.push_back({.id = plan->weights.at(0).id,
                   .method = v1::CHANNEL_ABS_MAX,
                   .target = QuantizerTarget::kWeight,
                   .channel_axis = 0,
                   .range = v1::WeightConfig::REDUCED});
  const auto model = QuantizedModel::Create(graph, specs);
  ASSERT_TRUE(model.ok()) << model.status();
  const auto exported = ExportModel(**model, *plan, config.export_());
  ASSERT_TRUE(exported.ok()) << exported.status();
  EXPECT_EQ(exported->layers.at("c_node").dead_channels, 1);
  // int8 weights, int32 biases, and a float scale for each channel of both.
  EXPECT_EQ(exported->layers.at("c_node").bytes, 4 * 8 + 4 * 4 + 4 * 4 + 4 * 4);
  EXPECT_EQ(exported->raised_channels.at("w"), 1);
  EXPECT_EQ(exported->warnings.size(), 1u);
  onnx::ModelProto file;
  ASSERT_TRUE(file.ParseFromString(exported->bytes));
  for (const onnx::TensorProto& tensor : file.graph().initializer()) {
    if (tensor.data_type() != onnx::TensorProto::INT32) continue;
    const int32_t* biases = reinterpret_cast<const int32_t*>(tensor.raw_data().data());
    // The bias is all that the dead channel has, and uses the 32 bits; it neither wrapped nor saturated.
    EXPECT_GT(biases[2], 2000000000);
    EXPECT_LT(std::abs(biases[0]), 1000000);
  }
}

}  // namespace
}  // namespace pactory::quant

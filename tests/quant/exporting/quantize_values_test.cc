#include "quant/exporting/quantize_values.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "quant/kernels/fake_quantize.h"

namespace pactory::quant {
namespace {

TEST(QuantizeValuesTest, StoredWeightsAreTheTrainedGridsValues) {
  at::manual_seed(3);
  at::Tensor weight = at::randn({5, 4, 3, 3});
  for (int64_t axis : {-1, 0, 1}) {
    const at::Tensor scales = AbsMaxScales(weight, axis, 63, 1e-8);
    const at::Tensor stored = QuantizeWeight(weight, scales, axis, 63);
    EXPECT_EQ(stored.scalar_type(), at::kChar);
    std::vector<int64_t> shape(4, 1);
    if (axis >= 0) shape[axis] = scales.numel();
    EXPECT_TRUE(at::equal(stored.to(at::kFloat) * scales.reshape(shape), FakeQuantizeAbsMax(weight, axis, 63, 1e-8))) << axis;
  }
}

TEST(QuantizeValuesTest, BiasIsWithinHalfAStepOfItself) {
  const at::Tensor bias = at::tensor({0.5f, -3.25f, 0.0f});
  const at::Tensor scales = at::tensor({0.01f, 0.002f, 0.5f});
  const QuantizedBias result = QuantizeBias(bias, 0.05, scales);
  EXPECT_TRUE(result.raised_channels.empty());
  EXPECT_TRUE(at::equal(result.weight_scales, scales));
  const at::Tensor error = (result.values.to(at::kFloat) * result.scales - bias).abs();
  EXPECT_TRUE((error <= result.scales * 0.5 + 1e-6).all().item<bool>()) << error;
  EXPECT_EQ(result.values[0].item<int32_t>(), 1000);
}

TEST(QuantizeValuesTest, DeadChannelsBiasDoesNotOverflow) {
  const at::Tensor bias = at::tensor({2.0f, 0.1f});
  const at::Tensor scales = at::tensor({1e-10f, 0.01f});
  const QuantizedBias result = QuantizeBias(bias, 0.01, scales);
  EXPECT_EQ(result.raised_channels, (std::vector<int64_t>{0}));
  EXPECT_GT(result.values[0].item<int32_t>(), 0);
  EXPECT_NEAR(result.values[0].item<int32_t>() * static_cast<double>(result.scales[0].item<float>()), 2.0, 1e-6);
  EXPECT_EQ(result.weight_scales[1].item<float>(), 0.01f);
}

}  // namespace
}  // namespace pactory::quant

#include "quant/exporting/quantize_values.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>

namespace pactory::quant {
namespace {

// Room for the rounding of the float scales.
constexpr double kLargestBias = 2147483647.0 * 0.999;

}  // namespace

at::Tensor QuantizeWeight(const at::Tensor& weight, const at::Tensor& scales, int64_t axis, int64_t steps) {
  at::Tensor divisor = scales;
  if (scales.numel() > 1) {
    std::vector<int64_t> shape(weight.dim(), 1);
    shape[axis] = scales.numel();
    divisor = scales.reshape(shape);
  }
  return weight.detach().to(at::kCPU, at::kFloat).div(divisor).round().clamp(-steps, steps).to(at::kChar).contiguous();
}

QuantizedBias QuantizeBias(const at::Tensor& bias, double input_scale, const at::Tensor& weight_scales) {
  const at::Tensor values = bias.detach().to(at::kCPU, at::kDouble).reshape({-1});
  const int64_t channels = values.numel();
  QuantizedBias result;
  result.weight_scales = weight_scales.numel() == channels ? weight_scales.clone() : weight_scales.expand({channels}).clone();
  result.values = at::empty({channels}, at::kInt);
  result.scales = at::empty({channels}, at::kFloat);
  const double* b = values.const_data_ptr<double>();
  float* weight_scale = result.weight_scales.mutable_data_ptr<float>();
  for (int64_t c = 0; c < channels; ++c) {
    if (std::fabs(b[c]) / (input_scale * weight_scale[c]) > kLargestBias) {
      weight_scale[c] = static_cast<float>(std::fabs(b[c]) / (input_scale * kLargestBias));
      result.raised_channels.push_back(c);
    }
    // The file's own float scale, so that the integers fit what the runtime multiplies them by.
    const float scale = static_cast<float>(input_scale) * weight_scale[c];
    result.scales.mutable_data_ptr<float>()[c] = scale;
    result.values.mutable_data_ptr<int32_t>()[c] = static_cast<int32_t>(std::nearbyint(b[c] / scale));
  }
  return result;
}

}  // namespace pactory::quant

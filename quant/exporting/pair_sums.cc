#include "quant/exporting/pair_sums.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

namespace pactory::quant {
namespace {

constexpr double kLargestSum = 32767;
constexpr double kLeastSum = -32768;

// Weights in the order in which a kernel runs over them, output channels x inner axis, and the input channel of each.
struct KernelOrder {
  at::Tensor weights;
  at::Tensor channels;
};

KernelOrder OrderOfConv(const Node& layer, const at::Tensor& weight) {
  const int64_t groups = layer.IntOr("group", 1);
  const int64_t outputs = weight.size(0), inputs = weight.size(1);
  const at::Tensor channels_last = weight.movedim(1, -1).reshape({outputs, -1});
  const at::Tensor within = at::arange(inputs, at::kLong).repeat({channels_last.size(1) / inputs});
  const at::Tensor first = at::arange(outputs, at::kLong).floor_divide(outputs / groups).mul(inputs);
  return {channels_last, first.unsqueeze(1) + within.unsqueeze(0)};
}

KernelOrder OrderOfProduct(const at::Tensor& rows) {
  return {rows, at::arange(rows.size(1), at::kLong).unsqueeze(0).expand({rows.size(0), rows.size(1)})};
}

// Every second element from `first` on.
at::Tensor Every2nd(const at::Tensor& values, int64_t first) { return values.slice(1, first, values.size(1), 2); }

double LargestInOrder(const KernelOrder& order, const StoredRange& range) {
  const at::Tensor weights = order.weights.to(at::kFloat);
  const at::Tensor low = weights * range.low.index({order.channels});
  const at::Tensor high = weights * range.high.index({order.channels});
  at::Tensor largest = at::maximum(low, high), least = at::minimum(low, high);
  // The last of an odd number stands alone.
  if (weights.size(1) % 2 != 0) {
    largest = at::constant_pad_nd(largest, {0, 1});
    least = at::constant_pad_nd(least, {0, 1});
  }
  const double highest = (Every2nd(largest, 0) + Every2nd(largest, 1)).max().item<double>();
  const double lowest = (Every2nd(least, 0) + Every2nd(least, 1)).min().item<double>();
  return std::max({0.0, highest / kLargestSum, lowest / kLeastSum});
}

int64_t ChannelAxis(const Node& layer, const at::Tensor& values) { return layer.op_type == "Conv" ? 1 : values.dim() - 1; }

}  // namespace

StoredRange RangeByChannel(const Node& layer, const at::Tensor& values) {
  const int64_t axis = ChannelAxis(layer, values);
  const at::Tensor rows = values.movedim(axis, 0).reshape({values.size(axis), -1});
  return {rows.amin(1).to(at::kCPU, at::kFloat), rows.amax(1).to(at::kCPU, at::kFloat)};
}

double LargestPairSum(const Node& layer, const at::Tensor& weight, const StoredRange& range, int64_t padding) {
  if (weight.numel() == 0) return 0;
  if (layer.op_type == "Conv") {
    const int64_t groups = layer.IntOr("group", 1);
    if (weight.size(1) == 1 && weight.size(0) == groups) return 0;
    StoredRange padded = range;
    if (weight.dim() > 2 && weight.numel() > weight.size(0) * weight.size(1)) {
      padded = {range.low.clamp_max(static_cast<double>(padding)), range.high.clamp_min(static_cast<double>(padding))};
    }
    return LargestInOrder(OrderOfConv(layer, weight), padded);
  }
  if (layer.op_type == "Gemm") return LargestInOrder(OrderOfProduct(layer.IntOr("transB", 0) != 0 ? weight : weight.t()), range);
  if (layer.op_type == "MatMul") {
    const at::Tensor rows = weight.transpose(-2, -1);
    return LargestInOrder(OrderOfProduct(rows.reshape({-1, rows.size(-1)})), range);
  }
  return 0;
}

}  // namespace pactory::quant

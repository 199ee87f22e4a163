// Reductions over axes: ReduceMean and its family, ArgMax, ArgMin, TopK, CumSum.
#include <ATen/ATen.h>

#include <limits>
#include <numeric>

#include "quant/ops/arguments.h"
#include "quant/ops/registry.h"

namespace pactory::quant {
namespace {

using Reduce = at::Tensor (*)(const at::Tensor&, at::IntArrayRef axes, bool keepdim);

// Axes are an attribute up to `input_opset`, input 1 from then on; none means all, or nothing with
// noop_with_empty_axes.
Bind Reduction(Reduce function, int64_t input_opset = 18) {
  return [function, input_opset](const Node& node, int64_t opset) -> absl::StatusOr<Kernel> {
    const bool keep = node.IntOr("keepdims", 1) != 0;
    const bool none_is_noop = node.IntOr("noop_with_empty_axes", 0) != 0;
    return Kernel(
        [=, read_axes = AxesReader(node, opset, input_opset)](Arguments arguments) -> std::vector<at::Tensor> {
          const at::Tensor& x = RequiredInput(arguments, 0);
          std::vector<int64_t> axes = NormalAxes(read_axes(arguments), x.dim());
          if (axes.empty() && !none_is_noop) {
            axes.resize(x.dim());
            std::iota(axes.begin(), axes.end(), 0);
          }
          // No axes at all reduces each element by itself, which still squares or takes logarithms.
          if (axes.empty()) return {function(x.unsqueeze(0), {0}, false)};
          return {function(x, axes, keep)};
        });
  };
}

at::Tensor ReduceMean(const at::Tensor& x, at::IntArrayRef axes, bool keep) {
  if (!at::isFloatingType(x.scalar_type())) {
    return at::mean(x.to(at::kDouble), axes, keep).trunc().to(x.scalar_type());
  }
  return at::mean(x, axes, keep);
}
at::Tensor ReduceSum(const at::Tensor& x, at::IntArrayRef axes, bool keep) {
  return at::sum(x, axes, keep, x.scalar_type());
}
at::Tensor ReduceProd(const at::Tensor& x, at::IntArrayRef axes, bool keep) {
  at::Tensor result = x;
  for (const int64_t axis : axes) result = at::prod(result, axis, /*keepdim=*/true, x.scalar_type());
  return keep ? result : at::squeeze(result, axes);
}
// The identity of an empty reduction is infinity, or true and false.
at::Tensor Extreme(const at::Tensor& x, at::IntArrayRef axes, bool keep, bool largest) {
  if (x.scalar_type() == at::kBool) {
    // In float, whose infinities become true below and false above.
    const at::Tensor numbers = Extreme(x.to(at::kFloat), axes, keep, largest);
    return numbers > 0.5;
  }
  if (x.numel() > 0) {
    return largest ? at::amax(x, axes, keep) : at::amin(x, axes, keep);
  }
  TORCH_CHECK(at::isFloatingType(x.scalar_type()), "an empty tensor of integers has no extreme value");
  const double infinity = std::numeric_limits<double>::infinity();
  return at::full_like(at::sum(x, axes, keep), largest ? -infinity : infinity);
}
at::Tensor ReduceMax(const at::Tensor& x, at::IntArrayRef axes, bool keep) { return Extreme(x, axes, keep, true); }
at::Tensor ReduceMin(const at::Tensor& x, at::IntArrayRef axes, bool keep) { return Extreme(x, axes, keep, false); }
at::Tensor ReduceL1(const at::Tensor& x, at::IntArrayRef axes, bool keep) { return ReduceSum(at::abs(x), axes, keep); }
at::Tensor ReduceL2(const at::Tensor& x, at::IntArrayRef axes, bool keep) {
  return at::sqrt(at::sum(x * x, axes, keep)).to(x.scalar_type());
}
at::Tensor ReduceSumSquare(const at::Tensor& x, at::IntArrayRef axes, bool keep) {
  return ReduceSum(x * x, axes, keep);
}
at::Tensor ReduceLogSum(const at::Tensor& x, at::IntArrayRef axes, bool keep) {
  return at::log(at::sum(x, axes, keep));
}
at::Tensor ReduceLogSumExp(const at::Tensor& x, at::IntArrayRef axes, bool keep) {
  return at::logsumexp(x, axes, keep);
}

// The first extreme element counts, or the last one with select_last_index.
Bind ArgExtreme(at::Tensor (*function)(const at::Tensor&, std::optional<int64_t>, bool)) {
  return [function](const Node& node, int64_t) -> absl::StatusOr<Kernel> {
    const int64_t axis = node.IntOr("axis", 0);
    const bool keep = node.IntOr("keepdims", 1) != 0;
    const bool last = node.IntOr("select_last_index", 0) != 0;
    return Kernel([=](Arguments arguments) -> std::vector<at::Tensor> {
      const at::Tensor& x = RequiredInput(arguments, 0);
      if (!last) return {function(x, axis, keep)};
      return {x.size(axis) - 1 - function(at::flip(x, {axis}), axis, keep)};
    });
  };
}

absl::StatusOr<Kernel> BindTopK(const Node& node, int64_t opset) {
  const int64_t axis = node.IntOr("axis", -1);
  const bool largest = node.IntOr("largest", 1) != 0;
  const bool sorted = node.IntOr("sorted", 1) != 0;
  const int64_t attribute_k = node.IntOr("k", 0);
  return Kernel([=](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& x = RequiredInput(arguments, 0);
    const int64_t k = opset < 10 ? attribute_k : Integers(RequiredInput(arguments, 1)).at(0);
    if (!sorted) {
      const auto [values, indices] = at::topk(x, k, axis, largest, /*sorted=*/false);
      return {values, indices};
    }
    // A stable sort gives ties in index order, as the spec asks; topk does not.
    const int64_t normal = NormalAxis(axis, x.dim());
    TORCH_CHECK(k >= 0 && k <= x.size(normal), "k must be in the dimension: k=", k, " size=", x.size(normal));
    const auto [values, indices] = at::sort(x, /*stable=*/true, axis, /*descending=*/largest);
    return {at::narrow(values, axis, 0, k), at::narrow(indices, axis, 0, k)};
  });
}

absl::StatusOr<Kernel> BindCumSum(const Node& node, int64_t) {
  const bool exclusive = node.IntOr("exclusive", 0) != 0;
  const bool reverse = node.IntOr("reverse", 0) != 0;
  return Kernel([=](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& given = RequiredInput(arguments, 0);
    const int64_t axis = Integers(RequiredInput(arguments, 1)).at(0);
    const at::Tensor x = reverse ? at::flip(given, {axis}) : given;
    at::Tensor sums = at::cumsum(x, axis, x.scalar_type());
    if (exclusive) sums = sums - x;
    return {reverse ? at::flip(sums, {axis}) : sums};
  });
}

const OpRegistration kReduceMean({.name = "ReduceMean", .keeps_non_negative = true, .bind = Reduction(ReduceMean)});
const OpRegistration kReduceSum({.name = "ReduceSum", .keeps_non_negative = true, .bind = Reduction(ReduceSum, 13)});
const OpRegistration kReduceProd({.name = "ReduceProd", .keeps_non_negative = true, .bind = Reduction(ReduceProd)});
const OpRegistration kReduceMax({.name = "ReduceMax", .keeps_non_negative = true, .bind = Reduction(ReduceMax)});
const OpRegistration kReduceMin({.name = "ReduceMin", .keeps_non_negative = true, .bind = Reduction(ReduceMin)});
const OpRegistration kReduceL1({.name = "ReduceL1", .non_negative = true, .bind = Reduction(ReduceL1)});
const OpRegistration kReduceL2({.name = "ReduceL2", .non_negative = true, .bind = Reduction(ReduceL2)});
const OpRegistration kReduceSumSquare(
    {.name = "ReduceSumSquare", .non_negative = true, .bind = Reduction(ReduceSumSquare)});
const OpRegistration kReduceLogSum({.name = "ReduceLogSum", .bind = Reduction(ReduceLogSum)});
const OpRegistration kReduceLogSumExp({.name = "ReduceLogSumExp", .bind = Reduction(ReduceLogSumExp)});
const OpRegistration kArgMax({.name = "ArgMax", .non_negative = true, .bind = ArgExtreme(at::argmax)});
const OpRegistration kArgMin({.name = "ArgMin", .non_negative = true, .bind = ArgExtreme(at::argmin)});
const OpRegistration kTopK({.name = "TopK", .bind = BindTopK});
const OpRegistration kCumSum({.name = "CumSum", .first_opset = 11, .bind = BindCumSum});

}  // namespace
}  // namespace pactory::quant

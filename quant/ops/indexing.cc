// Ops that pick or place elements by index: Gather, Scatter, OneHot, NonZero and the like.
#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>

#include "quant/ops/arguments.h"
#include "quant/ops/registry.h"

namespace pactory::quant {
namespace {

// Negative indices count from the end. Beside the data, as constants stay on the host.
at::Tensor FromFront(const at::Tensor& indices, int64_t size, at::Device device) {
  const at::Tensor whole = indices.to(device, at::kLong);
  return at::where(whole < 0, whole + size, whole);
}

absl::StatusOr<Kernel> BindGather(const Node& node, int64_t) {
  const int64_t axis = node.IntOr("axis", 0);
  return Kernel([axis](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& data = RequiredInput(arguments, 0);
    const at::Tensor& given = RequiredInput(arguments, 1);
    const int64_t normal = NormalAxis(axis, data.dim());
    const at::Tensor indices = FromFront(given, data.size(normal), data.device());
    std::vector<int64_t> shape = data.sizes().vec();
    shape.erase(shape.begin() + normal);
    shape.insert(shape.begin() + normal, indices.sizes().begin(), indices.sizes().end());
    return {at::index_select(data, normal, indices.reshape({-1})).reshape(shape)};
  });
}

absl::StatusOr<Kernel> BindGatherElements(const Node& node, int64_t) {
  const int64_t axis = node.IntOr("axis", 0);
  return Kernel([axis](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& data = RequiredInput(arguments, 0);
    const int64_t normal = NormalAxis(axis, data.dim());
    return {at::gather(data, normal, FromFront(RequiredInput(arguments, 1), data.size(normal), data.device()))};
  });
}

// The last dimension of `indices` addresses the data's dimensions from `first` on; returns the addresses in the data
// flattened over those, checked.
at::Tensor FlatIndices(const at::Tensor& data, const at::Tensor& indices, int64_t first) {
  const int64_t depth = indices.size(-1);
  TORCH_CHECK(depth >= 1 && depth <= data.dim() - first, "indices must address the data's dimensions: depth=", depth,
              " rank=", data.dim() - first);
  at::Tensor flat = at::zeros(indices.sizes().slice(0, indices.dim() - 1), indices.options().dtype(at::kLong));
  for (int64_t index = 0; index < depth; ++index) {
    const int64_t size = data.size(first + index);
    const at::Tensor part = FromFront(at::select(indices, -1, index), size, indices.device());
    TORCH_CHECK(part.numel() == 0 || ((part >= 0).logical_and(part < size)).all().item<bool>(),
                "indices must be in the data's shape: dimension=", first + index, " size=", size);
    flat = flat * size + part;
  }
  return flat;
}

absl::StatusOr<Kernel> BindGatherNd(const Node& node, int64_t) {
  const int64_t batch_dims = node.IntOr("batch_dims", 0);
  return Kernel([batch_dims](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& data = RequiredInput(arguments, 0);
    const at::Tensor indices = RequiredInput(arguments, 1).to(data.device());
    TORCH_CHECK(batch_dims >= 0 && batch_dims < std::min(data.dim(), indices.dim()),
                "batch_dims must be below both ranks: batch_dims=", batch_dims);
    const int64_t depth = indices.size(-1);
    at::Tensor flat = FlatIndices(data, indices, batch_dims);
    // Data as (batch, addressed, rest); batches are addressed by offset.
    int64_t batch = 1;
    for (int64_t axis = 0; axis < batch_dims; ++axis) batch *= data.size(axis);
    int64_t addressed = 1;
    for (int64_t axis = batch_dims; axis < batch_dims + depth; ++axis) addressed *= data.size(axis);
    std::vector<int64_t> rest = data.sizes().slice(batch_dims + depth).vec();
    std::vector<int64_t> shape = indices.sizes().slice(0, indices.dim() - 1).vec();
    shape.insert(shape.end(), rest.begin(), rest.end());
    flat = flat.reshape({batch, -1}) + at::arange(batch, flat.options()).unsqueeze(1) * addressed;
    rest.insert(rest.begin(), batch * addressed);
    return {at::index_select(data.reshape(rest), 0, flat.reshape({-1})).reshape(shape)};
  });
}

// ONNX's names for what happens to an element that is written twice.
absl::StatusOr<std::string> ReadReduction(const Node& node) {
  const std::string name = node.StringOr("reduction", "none");
  if (name == "none") return std::string();
  if (name == "add") return std::string("sum");
  if (name == "mul") return std::string("prod");
  if (name == "max") return std::string("amax");
  if (name == "min") return std::string("amin");
  return absl::InvalidArgumentError("reduction must be none, add, mul, max or min: reduction=" + name);
}

absl::StatusOr<Kernel> BindScatterElements(const Node& node, int64_t) {
  const int64_t axis = node.IntOr("axis", 0);
  const absl::StatusOr<std::string> reduction = ReadReduction(node);
  if (!reduction.ok()) return reduction.status();
  return Kernel([axis, reduction = *reduction](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& data = RequiredInput(arguments, 0);
    const int64_t normal = NormalAxis(axis, data.dim());
    const at::Tensor indices = FromFront(RequiredInput(arguments, 1), data.size(normal), data.device());
    const at::Tensor& updates = RequiredInput(arguments, 2);
    if (reduction.empty()) return {at::scatter(data, normal, indices, updates)};
    return {at::scatter_reduce(data, normal, indices, updates, reduction, /*include_self=*/true)};
  });
}

absl::StatusOr<Kernel> BindScatterNd(const Node& node, int64_t) {
  const absl::StatusOr<std::string> reduction = ReadReduction(node);
  if (!reduction.ok()) return reduction.status();
  return Kernel([reduction = *reduction](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& data = RequiredInput(arguments, 0);
    const at::Tensor indices = RequiredInput(arguments, 1).to(data.device());
    const int64_t depth = indices.size(-1);
    const at::Tensor flat = FlatIndices(data, indices, 0).reshape({-1});
    int64_t row = 1;
    for (int64_t axis = depth; axis < data.dim(); ++axis) row *= data.size(axis);
    const at::Tensor rows = data.reshape({-1, row});
    const at::Tensor updates = RequiredInput(arguments, 2).reshape({-1, row});
    const at::Tensor places = flat.unsqueeze(1).expand({flat.numel(), row});
    const at::Tensor result = reduction.empty()
                                  ? at::scatter(rows, 0, places, updates)
                                  : at::scatter_reduce(rows, 0, places, updates, reduction, /*include_self=*/true);
    return {result.reshape(data.sizes())};
  });
}

// values = [off, on]; an index outside of [-depth, depth) gives a row of off.
absl::StatusOr<Kernel> BindOneHot(const Node& node, int64_t) {
  const int64_t axis = node.IntOr("axis", -1);
  return Kernel([axis](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor given = RequiredInput(arguments, 0).to(at::kLong);
    const int64_t depth = static_cast<int64_t>(Numbers(RequiredInput(arguments, 1)).at(0));
    const at::Tensor& values = RequiredInput(arguments, 2);
    TORCH_CHECK(values.numel() == 2, "values of OneHot must be off and on: elements=", values.numel());
    const int64_t normal = NormalAxis(axis, given.dim() + 1);
    const at::Tensor indices = at::where(given < 0, given + depth, given).unsqueeze(normal);
    std::vector<int64_t> shape(given.dim() + 1, 1);
    shape[normal] = depth;
    const at::Tensor classes = at::arange(depth, given.options()).reshape(shape);
    return {at::where(indices == classes, values[1], values[0])};
  });
}

at::Tensor NonZero(const at::Tensor& x) { return at::nonzero(x).t().contiguous(); }

absl::StatusOr<Kernel> BindCompress(const Node& node, int64_t) {
  const bool flat = !node.Has("axis");
  const int64_t axis = node.IntOr("axis", 0);
  return Kernel([=](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor x = flat ? RequiredInput(arguments, 0).reshape({-1}) : RequiredInput(arguments, 0);
    return {at::index_select(x, axis, at::nonzero(RequiredInput(arguments, 1)).reshape({-1}))};
  });
}

absl::StatusOr<Kernel> BindTrilu(const Node& node, int64_t) {
  const bool upper = node.IntOr("upper", 1) != 0;
  return Kernel([upper](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& x = RequiredInput(arguments, 0);
    const at::Tensor k = OptionalInput(arguments, 1);
    const int64_t diagonal = k.defined() ? Integers(k).at(0) : 0;
    return {upper ? at::triu(x, diagonal) : at::tril(x, diagonal)};
  });
}

constexpr QuantizationRole kMovesValues = QuantizationRole::kPassThrough;

const OpRegistration kGather({.name = "Gather", .role = kMovesValues, .keeps_non_negative = true, .bind = BindGather});
const OpRegistration kGatherElements({.name = "GatherElements", .bind = BindGatherElements});
const OpRegistration kGatherNd({.name = "GatherND", .first_opset = 11, .bind = BindGatherNd});
const OpRegistration kScatterElements({.name = "ScatterElements", .bind = BindScatterElements});
// The name of ScatterElements before opset 11.
const OpRegistration kScatter({.name = "Scatter", .first_opset = 9, .last_opset = 10, .bind = BindScatterElements});
const OpRegistration kScatterNd({.name = "ScatterND", .first_opset = 11, .bind = BindScatterNd});
const OpRegistration kOneHot({.name = "OneHot", .first_opset = 9, .bind = BindOneHot});
const OpRegistration kNonZero({.name = "NonZero", .first_opset = 9, .bind = Unary(NonZero)});
const OpRegistration kCompress({.name = "Compress", .first_opset = 9, .bind = BindCompress});
const OpRegistration kTrilu({.name = "Trilu", .first_opset = 14, .bind = BindTrilu});

}  // namespace
}  // namespace pactory::quant

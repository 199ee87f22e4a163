// Ops that change a tensor's shape and not its elements: Reshape, Transpose, Concat, Slice and the like.
#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "quant/ops/arguments.h"
#include "quant/ops/registry.h"

namespace pactory::quant {
namespace {

// 0 copies the input's dimension (unless allowzero), -1 takes the rest.
absl::StatusOr<Kernel> BindReshape(const Node& node, int64_t) {
  const bool allow_zero = node.IntOr("allowzero", 0) != 0;
  return Kernel([allow_zero](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& input = RequiredInput(arguments, 0);
    std::vector<int64_t> shape = Integers(RequiredInput(arguments, 1));
    for (size_t axis = 0; axis < shape.size(); ++axis) {
      if (shape[axis] != 0 || allow_zero) continue;
      TORCH_CHECK(static_cast<int64_t>(axis) < input.dim(),
                  "shape copies a dimension that the input lacks: axis=", axis);
      shape[axis] = input.size(axis);
    }
    return {at::reshape(input, shape)};
  });
}

absl::StatusOr<Kernel> BindFlatten(const Node& node, int64_t) {
  const int64_t axis = node.IntOr("axis", 1);
  return Kernel([axis](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& input = RequiredInput(arguments, 0);
    TORCH_CHECK(axis >= -input.dim() && axis <= input.dim(), "axis must be in the tensor's rank: axis=", axis);
    const int64_t split = axis < 0 ? axis + input.dim() : axis;
    int64_t rows = 1;
    for (int64_t index = 0; index < split; ++index) rows *= input.size(index);
    int64_t columns = 1;
    for (int64_t index = split; index < input.dim(); ++index) columns *= input.size(index);
    return {at::reshape(input, {rows, columns})};
  });
}

absl::StatusOr<Kernel> BindTranspose(const Node& node, int64_t) {
  const std::vector<int64_t> given = node.IntsOr("perm", {});
  return Kernel([given](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& input = RequiredInput(arguments, 0);
    std::vector<int64_t> order = given;
    if (order.empty()) {
      order.resize(input.dim());
      std::iota(order.rbegin(), order.rend(), 0);
    }
    return {at::permute(input, order)};
  });
}

absl::StatusOr<Kernel> BindSqueeze(const Node& node, int64_t opset) {
  return Kernel([read_axes = AxesReader(node, opset, 13)](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& input = RequiredInput(arguments, 0);
    const std::vector<int64_t> axes = NormalAxes(read_axes(arguments), input.dim());
    if (axes.empty()) return {at::squeeze(input)};
    for (const int64_t axis : axes) {
      TORCH_CHECK(input.size(axis) == 1, "squeezed dimensions must be 1: axis=", axis, " size=", input.size(axis));
    }
    return {at::squeeze(input, axes)};
  });
}

absl::StatusOr<Kernel> BindUnsqueeze(const Node& node, int64_t opset) {
  return Kernel([read_axes = AxesReader(node, opset, 13)](Arguments arguments) -> std::vector<at::Tensor> {
    at::Tensor result = RequiredInput(arguments, 0);
    std::vector<int64_t> axes = read_axes(arguments);
    axes = NormalAxes(std::move(axes), result.dim() + static_cast<int64_t>(axes.size()));
    std::sort(axes.begin(), axes.end());
    for (const int64_t axis : axes) result = at::unsqueeze(result, axis);
    return {result};
  });
}

absl::StatusOr<Kernel> BindConcat(const Node& node, int64_t) {
  if (!node.Has("axis")) return absl::InvalidArgumentError("Concat must have an axis");
  const int64_t axis = node.IntOr("axis", 0);
  return Kernel([axis](Arguments arguments) -> std::vector<at::Tensor> {
    RequiredInput(arguments, 0);
    return {at::cat(arguments.vec(), axis)};
  });
}

// Equal parts (the last one smaller), or the sizes of the attribute or the input.
absl::StatusOr<Kernel> BindSplit(const Node& node, int64_t opset) {
  const int64_t axis = node.IntOr("axis", 0);
  const std::vector<int64_t> given = opset < 13 ? node.IntsOr("split", {}) : std::vector<int64_t>();
  const int64_t parts = node.IntOr("num_outputs", static_cast<int64_t>(node.outputs.size()));
  if (parts < 1) return absl::InvalidArgumentError("Split must have outputs");
  return Kernel([=](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& input = RequiredInput(arguments, 0);
    const int64_t size = input.size(NormalAxis(axis, input.dim()));
    std::vector<int64_t> sizes = given;
    const at::Tensor split = OptionalInput(arguments, 1);
    if (opset >= 13 && split.defined()) sizes = Integers(split);
    if (sizes.empty()) {
      const int64_t part = (size + parts - 1) / parts;
      for (int64_t index = 0; index < parts; ++index) {
        sizes.push_back(std::clamp<int64_t>(size - index * part, 0, part));
      }
    }
    return at::split_with_sizes(input, sizes, axis);
  });
}

// One dimension of Slice; bounds are clamped, a negative step runs backwards.
at::Tensor SliceAxis(const at::Tensor& input, int64_t axis, int64_t start, int64_t end, int64_t step) {
  TORCH_CHECK(step != 0, "step of Slice must not be 0");
  const int64_t size = input.size(axis);
  const auto from_front = [size](int64_t index) { return index < 0 ? index + size : index; };
  if (step > 0) {
    start = std::clamp<int64_t>(from_front(start), 0, size);
    end = std::clamp<int64_t>(from_front(end), 0, size);
    if (start == 0 && end == size && step == 1) return input;
    return at::slice(input, axis, start, std::max(start, end), step);
  }
  start = std::clamp<int64_t>(from_front(start), -1, size - 1);
  end = std::clamp<int64_t>(from_front(end), -1, size - 1);
  std::vector<int64_t> indices;
  // Compared before it is added to, so that a huge step can't overflow.
  for (int64_t index = start; index > end;) {
    indices.push_back(index);
    if (index < std::numeric_limits<int64_t>::min() - step || index + step < 0) break;
    index += step;
  }
  return at::index_select(input, axis, at::tensor(indices, at::kLong).to(input.device()));
}

absl::StatusOr<Kernel> BindSlice(const Node& node, int64_t opset) {
  const std::vector<int64_t> starts = node.IntsOr("starts", {});
  const std::vector<int64_t> ends = node.IntsOr("ends", {});
  const std::vector<int64_t> axes = node.IntsOr("axes", {});
  return Kernel([=](Arguments arguments) -> std::vector<at::Tensor> {
    at::Tensor result = RequiredInput(arguments, 0);
    std::vector<int64_t> from = starts;
    std::vector<int64_t> to = ends;
    std::vector<int64_t> along = axes;
    std::vector<int64_t> steps;
    if (opset >= 10) {
      from = Integers(RequiredInput(arguments, 1));
      to = Integers(RequiredInput(arguments, 2));
      if (const at::Tensor given = OptionalInput(arguments, 3); given.defined()) along = Integers(given);
      if (const at::Tensor given = OptionalInput(arguments, 4); given.defined()) steps = Integers(given);
    }
    if (along.empty()) {
      along.resize(from.size());
      std::iota(along.begin(), along.end(), 0);
    }
    if (steps.empty()) steps.assign(from.size(), 1);
    TORCH_CHECK(to.size() == from.size() && along.size() == from.size() && steps.size() == from.size(),
                "starts, ends, axes and steps of Slice must have one length: ", from.size(), ",", to.size(), ",",
                along.size(), ",", steps.size());
    for (size_t index = 0; index < from.size(); ++index) {
      result = SliceAxis(result, NormalAxis(along[index], result.dim()), from[index], to[index], steps[index]);
    }
    return {result};
  });
}

// Broadcasts both ways: a 1 in `shape` keeps the input's dimension.
at::Tensor Expand(const at::Tensor& input, const at::Tensor& shape) {
  std::vector<int64_t> sizes = Integers(shape);
  const int64_t offset = static_cast<int64_t>(sizes.size()) - input.dim();
  for (int64_t axis = std::max<int64_t>(0, offset); axis < static_cast<int64_t>(sizes.size()); ++axis) {
    if (sizes[axis] == 1) sizes[axis] = input.size(axis - offset);
  }
  if (offset < 0) sizes.insert(sizes.begin(), input.sizes().begin(), input.sizes().begin() - offset);
  return at::expand_copy(input, sizes);
}

at::Tensor Tile(const at::Tensor& input, const at::Tensor& repeats) { return input.repeat(Integers(repeats)); }

// From opset 15 on a range of dimensions can be asked for.
absl::StatusOr<Kernel> BindShape(const Node& node, int64_t) {
  const int64_t start = node.IntOr("start", 0);
  const int64_t end = node.IntOr("end", std::numeric_limits<int64_t>::max());
  return Kernel([=](Arguments arguments) -> std::vector<at::Tensor> {
    const at::IntArrayRef sizes = RequiredInput(arguments, 0).sizes();
    const int64_t rank = static_cast<int64_t>(sizes.size());
    const int64_t from = std::clamp<int64_t>(start < 0 ? start + rank : start, 0, rank);
    const int64_t to = std::clamp<int64_t>(end < 0 ? end + rank : end, from, rank);
    return {at::tensor(sizes.slice(from, to - from), at::kLong)};
  });
}

at::Tensor Size(const at::Tensor& input) { return at::scalar_tensor(input.numel(), at::kLong); }

absl::StatusOr<Kernel> BindDepthToSpace(const Node& node, int64_t) {
  const int64_t block = node.IntOr("blocksize", 0);
  const std::string mode = node.StringOr("mode", "DCR");
  if (block < 1) return absl::InvalidArgumentError("blocksize must be at least 1");
  if (mode != "DCR" && mode != "CRD") return absl::InvalidArgumentError("mode must be DCR or CRD: mode=" + mode);
  return Kernel([=](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& x = RequiredInput(arguments, 0);
    TORCH_CHECK(x.dim() == 4 && x.size(1) % (block * block) == 0,
                "input must be 4-d with channels divisible by blocksize squared: dims=", x.sizes());
    const int64_t channels = x.size(1) / (block * block);
    const at::Tensor parts =
        mode == "DCR"
            ? x.reshape({x.size(0), block, block, channels, x.size(2), x.size(3)}).permute({0, 3, 4, 1, 5, 2})
            : x.reshape({x.size(0), channels, block, block, x.size(2), x.size(3)}).permute({0, 1, 4, 2, 5, 3});
    return {parts.reshape({x.size(0), channels, x.size(2) * block, x.size(3) * block})};
  });
}

absl::StatusOr<Kernel> BindSpaceToDepth(const Node& node, int64_t) {
  const int64_t block = node.IntOr("blocksize", 0);
  const std::string mode = node.StringOr("mode", "DCR");
  if (block < 1) return absl::InvalidArgumentError("blocksize must be at least 1");
  if (mode != "DCR" && mode != "CRD") return absl::InvalidArgumentError("mode must be DCR or CRD: mode=" + mode);
  return Kernel([=](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& x = RequiredInput(arguments, 0);
    TORCH_CHECK(x.dim() == 4 && x.size(2) % block == 0 && x.size(3) % block == 0,
                "input must be 4-d with height and width divisible by blocksize: dims=", x.sizes());
    const int64_t height = x.size(2) / block;
    const int64_t width = x.size(3) / block;
    const at::Tensor parts = x.reshape({x.size(0), x.size(1), height, block, width, block});
    return {(mode == "DCR" ? parts.permute({0, 3, 5, 1, 2, 4}) : parts.permute({0, 1, 3, 5, 2, 4}))
                .reshape({x.size(0), x.size(1) * block * block, height, width})};
  });
}

at::Tensor Same(const at::Tensor& x) { return x; }

// In inference nothing is dropped; the mask, where asked for, is all true.
absl::StatusOr<Kernel> BindDropout(const Node& node, int64_t opset) {
  return Kernel([opset](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& x = RequiredInput(arguments, 0);
    const at::Tensor training = OptionalInput(arguments, 2);
    const at::Tensor ratio = OptionalInput(arguments, 1);
    const bool drops = !ratio.defined() || Numbers(ratio).at(0) != 0;
    TORCH_CHECK(!training.defined() || !training.item<bool>() || !drops,
                "Dropout must be in inference mode: training_mode=1");
    const at::ScalarType mask_type = opset >= 10 ? at::kBool : x.scalar_type();
    return {x, at::ones(x.sizes(), x.options().dtype(mask_type).requires_grad(false))};
  });
}

constexpr QuantizationRole kPassThrough = QuantizationRole::kPassThrough;

const OpRegistration kReshape(
    {.name = "Reshape", .role = kPassThrough, .keeps_non_negative = true, .bind = BindReshape});
const OpRegistration kFlatten(
    {.name = "Flatten", .role = kPassThrough, .keeps_non_negative = true, .bind = BindFlatten});
const OpRegistration kTranspose(
    {.name = "Transpose", .role = kPassThrough, .keeps_non_negative = true, .bind = BindTranspose});
const OpRegistration kSqueeze(
    {.name = "Squeeze", .role = kPassThrough, .keeps_non_negative = true, .bind = BindSqueeze});
const OpRegistration kUnsqueeze(
    {.name = "Unsqueeze", .role = kPassThrough, .keeps_non_negative = true, .bind = BindUnsqueeze});
const OpRegistration kConcat({.name = "Concat",
                              .role = QuantizationRole::kActivation,
                              .keeps_non_negative = true,
                              .bind = BindConcat});
const OpRegistration kSplit({.name = "Split", .role = kPassThrough, .keeps_non_negative = true, .bind = BindSplit});
const OpRegistration kSlice({.name = "Slice", .role = kPassThrough, .keeps_non_negative = true, .bind = BindSlice});
const OpRegistration kExpand({.name = "Expand", .keeps_non_negative = true, .bind = Binary(Expand)});
const OpRegistration kTile({.name = "Tile", .keeps_non_negative = true, .bind = Binary(Tile)});
const OpRegistration kShape({.name = "Shape", .non_negative = true, .bind = BindShape});
const OpRegistration kSize({.name = "Size", .non_negative = true, .bind = Unary(Size)});
const OpRegistration kDepthToSpace(
    {.name = "DepthToSpace", .role = kPassThrough, .keeps_non_negative = true, .bind = BindDepthToSpace});
const OpRegistration kSpaceToDepth(
    {.name = "SpaceToDepth", .role = kPassThrough, .keeps_non_negative = true, .bind = BindSpaceToDepth});
const OpRegistration kIdentity(
    {.name = "Identity", .role = kPassThrough, .keeps_non_negative = true, .bind = Unary(Same)});
const OpRegistration kDropout(
    {.name = "Dropout", .role = kPassThrough, .keeps_non_negative = true, .bind = BindDropout});

}  // namespace
}  // namespace pactory::quant

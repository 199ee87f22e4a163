#include "quant/ops/window.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace pactory::quant {
namespace {

// Keeps products of window sizes far from overflow.
constexpr int64_t kLargest = int64_t{1} << 31;

absl::Status CheckRange(const std::vector<int64_t>& values, int64_t smallest, absl::string_view name) {
  for (const int64_t value : values) {
    if (value < smallest || value > kLargest) {
      return absl::InvalidArgumentError(absl::StrCat(name, " must be at least ", smallest, ": value=", value));
    }
  }
  return absl::OkStatus();
}

std::vector<int64_t> Filled(const std::vector<int64_t>& values, size_t spatial, int64_t fallback, const char* name) {
  if (values.empty()) return std::vector<int64_t>(spatial, fallback);
  TORCH_CHECK(values.size() == spatial, name, " must have one value for each spatial dimension: values=",
              values.size(), " spatial=", spatial);
  return values;
}

}  // namespace

bool Window::IsSymmetric() const { return pads_begin == pads_end; }

absl::StatusOr<WindowAttributes> WindowAttributes::Read(const Node& node) {
  WindowAttributes attributes;
  attributes.kernel_ = node.IntsOr("kernel_shape", {});
  attributes.strides_ = node.IntsOr("strides", {});
  attributes.dilations_ = node.IntsOr("dilations", {});
  attributes.pads_ = node.IntsOr("pads", {});
  attributes.auto_pad_ = node.StringOr("auto_pad", "NOTSET");
  if (absl::Status status = CheckRange(attributes.kernel_, 1, "kernel_shape"); !status.ok()) return status;
  if (absl::Status status = CheckRange(attributes.strides_, 1, "strides"); !status.ok()) return status;
  if (absl::Status status = CheckRange(attributes.dilations_, 1, "dilations"); !status.ok()) return status;
  if (absl::Status status = CheckRange(attributes.pads_, 0, "pads"); !status.ok()) return status;
  const std::string& mode = attributes.auto_pad_;
  if (mode != "NOTSET" && mode != "SAME_UPPER" && mode != "SAME_LOWER" && mode != "VALID") {
    return absl::InvalidArgumentError(
        absl::StrCat("auto_pad must be NOTSET, SAME_UPPER, SAME_LOWER or VALID: auto_pad=", mode));
  }
  return attributes;
}

Window WindowAttributes::For(const at::Tensor& input, at::IntArrayRef kernel) const {
  TORCH_CHECK(input.dim() >= 3, "input must have batch, channel and spatial dimensions: rank=", input.dim());
  const size_t spatial = input.dim() - 2;
  Window window;
  window.kernel = Filled(kernel_.empty() ? kernel.vec() : kernel_, spatial, 1, "kernel_shape");
  window.strides = Filled(strides_, spatial, 1, "strides");
  window.dilations = Filled(dilations_, spatial, 1, "dilations");
  window.pads_begin.assign(spatial, 0);
  window.pads_end.assign(spatial, 0);
  if (auto_pad_ == "SAME_UPPER" || auto_pad_ == "SAME_LOWER") {
    for (size_t axis = 0; axis < spatial; ++axis) {
      const int64_t size = input.size(axis + 2);
      const int64_t stride = window.strides[axis];
      // output = ceil(size / stride); the padding makes the last window fit.
      const int64_t output = (size + stride - 1) / stride;
      const int64_t reach = (window.kernel[axis] - 1) * window.dilations[axis] + 1;
      const int64_t total = std::max<int64_t>(0, (output - 1) * stride + reach - size);
      const int64_t smaller = total / 2;
      window.pads_begin[axis] = auto_pad_ == "SAME_UPPER" ? smaller : total - smaller;
      window.pads_end[axis] = total - window.pads_begin[axis];
    }
  } else if (auto_pad_ == "NOTSET" && !pads_.empty()) {
    TORCH_CHECK(pads_.size() == 2 * spatial, "pads must have two values for each spatial dimension: values=",
                pads_.size(), " spatial=", spatial);
    window.pads_begin.assign(pads_.begin(), pads_.begin() + spatial);
    window.pads_end.assign(pads_.begin() + spatial, pads_.end());
  }
  return window;
}

at::Tensor PadSpatial(const at::Tensor& input, const std::vector<int64_t>& begin, const std::vector<int64_t>& end,
                      double value) {
  std::vector<int64_t> pads;
  // LibTorch counts from the last dimension.
  for (size_t axis = begin.size(); axis-- > 0;) {
    pads.push_back(begin[axis]);
    pads.push_back(end[axis]);
  }
  if (std::all_of(pads.begin(), pads.end(), [](int64_t pad) { return pad == 0; })) return input;
  return at::constant_pad_nd(input, pads, value);
}

}  // namespace pactory::quant

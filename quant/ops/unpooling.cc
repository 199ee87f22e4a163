// MaxUnpool, which puts the values of a MaxPool back to where its indices say.
#include <ATen/ATen.h>

#include "base/status_macros.h"
#include "quant/ops/arguments.h"
#include "quant/ops/registry.h"

namespace pactory::quant {
namespace {

absl::StatusOr<Kernel> BindMaxUnpool(const Node& node, int64_t) {
  const std::vector<int64_t> kernel = node.IntsOr("kernel_shape", {});
  std::vector<int64_t> strides = node.IntsOr("strides", {});
  std::vector<int64_t> pads = node.IntsOr("pads", {});
  if (strides.empty()) strides.assign(kernel.size(), 1);
  if (pads.empty()) pads.assign(2 * kernel.size(), 0);
  if (kernel.empty() || strides.size() != kernel.size() || pads.size() != 2 * kernel.size()) {
    return absl::InvalidArgumentError("kernel_shape, strides and pads must have one length");
  }
  return Kernel([=](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& x = RequiredInput(arguments, 0);
    const at::Tensor& indices = RequiredInput(arguments, 1);
    const at::Tensor output_shape = OptionalInput(arguments, 2);
    const int64_t spatial = static_cast<int64_t>(kernel.size());
    TORCH_CHECK(x.dim() == spatial + 2 && indices.sizes() == x.sizes(),
                "indices must have the input's shape: indices=", indices.sizes(), " input=", x.sizes());
    std::vector<int64_t> sizes = x.sizes().vec();
    for (int64_t axis = 0; axis < spatial; ++axis) {
      sizes[axis + 2] = (x.size(axis + 2) - 1) * strides[axis] - pads[axis] - pads[spatial + axis] + kernel[axis];
      TORCH_CHECK(sizes[axis + 2] > 0, "output must not be empty: axis=", axis + 2);
    }
    // Indices count in the shape that the attributes give; what output_shape asks for beyond stays 0.
    const at::Tensor whole = at::scatter(at::zeros(sizes, x.options()).reshape({-1}), 0, indices.reshape({-1}),
                                         x.reshape({-1})).reshape(sizes);
    if (!output_shape.defined()) return {whole};
    const std::vector<int64_t> wanted = Integers(output_shape);
    TORCH_CHECK(wanted.size() == sizes.size(), "output_shape must have the input's rank: values=", wanted.size());
    std::vector<int64_t> growth;
    for (size_t axis = sizes.size(); axis-- > 0;) growth.insert(growth.end(), {0, wanted[axis] - sizes[axis]});
    return {at::constant_pad_nd(whole, growth, 0)};
  });
}

const OpRegistration kMaxUnpool({.name = "MaxUnpool", .first_opset = 9, .bind = BindMaxUnpool});

}  // namespace
}  // namespace pactory::quant

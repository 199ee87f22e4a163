// Ops of the domain ai.onnx.ml that sklearn-onnx puts around a neural net: Scaler in front of it, ArrayFeatureExtractor to
// name its answer.
#include <ATen/ATen.h>

#include "quant/ops/arguments.h"
#include "quant/ops/registry.h"

namespace pactory::quant {
namespace {

constexpr char kClassicalMl[] = "ai.onnx.ml";

std::vector<float> FloatsOf(const Node& node, const std::string& name) {
  const auto found = node.attributes.find(name);
  const auto* values = found == node.attributes.end() ? nullptr : std::get_if<std::vector<float>>(&found->second);
  return values == nullptr ? std::vector<float>() : *values;
}

// y = (x - offset) * scale, by feature or for all.
absl::StatusOr<Kernel> BindScaler(const Node& node, int64_t) {
  const at::Tensor offset = at::tensor(FloatsOf(node, "offset"), at::kFloat);
  const at::Tensor scale = at::tensor(FloatsOf(node, "scale"), at::kFloat);
  if (offset.numel() == 0 || scale.numel() == 0) {
    return absl::InvalidArgumentError("Scaler must have the attributes offset and scale");
  }
  return Kernel([offset, scale](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& given = RequiredInput(arguments, 0);
    const at::Tensor x = given.is_floating_point() ? given : given.to(at::kFloat);
    for (const at::Tensor& values : {offset, scale}) {
      TORCH_CHECK(values.numel() == 1 || (x.dim() > 0 && values.numel() == x.size(-1)),
                  "offset and scale must have a value for each feature: features=", x.sizes(), " values=", values.numel());
    }
    return {(x - offset.to(x.device())) * scale.to(x.device())};
  });
}

// Elements of the last dimension, by index; a vector counts as one row.
absl::StatusOr<Kernel> BindArrayFeatureExtractor(const Node&, int64_t) {
  return Kernel([](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& x = RequiredInput(arguments, 0);
    const at::Tensor indices = RequiredInput(arguments, 1).to(x.device(), at::kLong).reshape({-1});
    return {at::index_select(x.dim() < 2 ? x.reshape({1, -1}) : x, -1, indices)};
  });
}

const OpRegistration kScaler({.name = "Scaler", .domain = kClassicalMl, .bind = BindScaler});
const OpRegistration kArrayFeatureExtractor(
    {.name = "ArrayFeatureExtractor", .domain = kClassicalMl, .bind = BindArrayFeatureExtractor});

}  // namespace
}  // namespace pactory::quant

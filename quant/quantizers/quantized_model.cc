#include "quant/quantizers/quantized_model.h"

#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "quant/quantizers/registry.h"

namespace pactory::quant {

namespace {

// b + (round_half_even(b / s) * s - b) with the bracket held constant: the gradient passes unchanged.
at::Tensor FakeQuantizeBias(const at::Tensor& bias, const at::Tensor& scale) {
  const at::Tensor value = bias.detach();
  const at::Tensor step = scale.to(value.device());
  return bias + (value.div(step).round().mul(step) - value);
}

}  // namespace

absl::StatusOr<std::unique_ptr<QuantizedModel>> QuantizedModel::Create(const Graph& graph,
                                                                       const std::vector<QuantizerSpec>& specs,
                                                                       const KernelFactory& other_kernels) {
  auto model = std::unique_ptr<QuantizedModel>(new QuantizedModel());
  model->graph_ = graph;
  for (const QuantizerSpec& spec : specs) {
    PACTORY_ASSIGN_OR_RETURN(auto quantizer, MakeQuantizer(spec));
    model->by_id_[spec.id] = quantizer.get();
    model->quantizers_.push_back(std::move(quantizer));
  }
  const auto find = [&](const Node& node, absl::string_view attribute) -> absl::StatusOr<Quantizer*> {
    Quantizer* quantizer = model->Find(node.StringOr(attribute, ""));
    if (quantizer != nullptr) return quantizer;
    return absl::InternalError(absl::StrCat("node must name a quantizer of the model: node=", node.name, " ", attribute, "=",
                                            node.StringOr(attribute, "")));
  };
  const auto bind = [&](const Node& node) -> absl::StatusOr<Kernel> {
    if (node.op_type == "FakeQuantizeBias") {
      PACTORY_ASSIGN_OR_RETURN(Quantizer* const input, find(node, "input_quantizer"));
      PACTORY_ASSIGN_OR_RETURN(Quantizer* const weight, find(node, "weight_quantizer"));
      return Kernel([input, weight](at::ArrayRef<at::Tensor> inputs) {
        return std::vector<at::Tensor>{FakeQuantizeBias(inputs[0], input->Scales({}) * weight->Scales(inputs[1]))};
      });
    }
    if (node.op_type != "FakeQuantize" && other_kernels) return other_kernels(node);
    PACTORY_ASSIGN_OR_RETURN(Quantizer* const quantizer, find(node, "quantizer"));
    if (const auto weight = graph.initializers.find(node.inputs[0]); weight != graph.initializers.end()) {
      quantizer->Start(weight->second);
    }
    return Kernel([quantizer, owner = model.get()](at::ArrayRef<at::Tensor> inputs) {
      if (owner->observer_) owner->observer_(*quantizer, inputs[0]);
      return std::vector<at::Tensor>{quantizer->Apply(inputs[0])};
    });
  };
  const auto stage_of = [&](const Node& node) -> StageMaker {
    Quantizer* const quantizer = node.op_type == "FakeQuantize" ? model->Find(node.StringOr("quantizer", "")) : nullptr;
    if (quantizer == nullptr) return {};
    // An observer sees each tensor before it is quantized, which a chain does not keep.
    return [quantizer, owner = model.get()](const at::Tensor&) { return owner->observer_ ? std::nullopt : quantizer->Stage(); };
  };
  PACTORY_ASSIGN_OR_RETURN(model->executor_, Executor::Create(model->graph_, bind, stage_of));
  for (auto& [name, tensor] : model->executor_->parameters()) tensor = tensor.clone();
  return model;
}

Quantizer* QuantizedModel::Find(absl::string_view id) const {
  const auto found = by_id_.find(std::string(id));
  return found == by_id_.end() ? nullptr : found->second;
}

void QuantizedModel::SetMode(QuantizerMode mode) {
  for (const auto& quantizer : quantizers_) quantizer->set_mode(mode);
}

void QuantizedModel::To(at::Device device) {
  executor_->To(device);
  for (const auto& quantizer : quantizers_) quantizer->To(device);
}

}  // namespace pactory::quant

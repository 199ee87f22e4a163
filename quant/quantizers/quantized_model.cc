#include "quant/quantizers/quantized_model.h"

#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "quant/quantizers/registry.h"

namespace pactory::quant {

absl::StatusOr<std::unique_ptr<QuantizedModel>> QuantizedModel::Create(const Graph& graph,
                                                                       const std::vector<QuantizerSpec>& specs) {
  auto model = std::unique_ptr<QuantizedModel>(new QuantizedModel());
  model->graph_ = graph;
  for (const QuantizerSpec& spec : specs) {
    PACTORY_ASSIGN_OR_RETURN(auto quantizer, MakeQuantizer(spec));
    model->by_id_[spec.id] = quantizer.get();
    model->quantizers_.push_back(std::move(quantizer));
  }
  const auto bind = [&by_id = model->by_id_](const Node& node) -> absl::StatusOr<Kernel> {
    const std::string id = node.StringOr("quantizer", "");
    const auto found = by_id.find(id);
    if (node.op_type != "FakeQuantize" || found == by_id.end()) {
      return absl::InternalError(absl::StrCat("node must name a quantizer of the model: node=", node.name, " op=",
                                              node.op_type, " quantizer=", id));
    }
    return [quantizer = found->second](at::ArrayRef<at::Tensor> inputs) {
      return std::vector<at::Tensor>{quantizer->Apply(inputs[0])};
    };
  };
  PACTORY_ASSIGN_OR_RETURN(model->executor_, Executor::Create(model->graph_, bind));
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

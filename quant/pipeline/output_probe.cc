#include "quant/pipeline/output_probe.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "quant/data/dataset.h"
#include "quant/guard.h"
#include "quant/quantizers/registry.h"

namespace pactory::quant {
namespace {

// Below this a probability counts as this: what float32 leaves of a softmax's far end says nothing.
constexpr double kLeastProbability = 1e-12;

double SummedDivergence(const at::Tensor& exact, const at::Tensor& other) {
  const at::Tensor p = exact.clamp_min(kLeastProbability), q = other.clamp_min(kLeastProbability);
  const at::Tensor terms = p * (p.log() - q.log());
  return terms.sum(at::kDouble).item<double>() / static_cast<double>(exact.size(0));
}

double RelativeNoise(const at::Tensor& exact, const at::Tensor& other) {
  const double signal = exact.square().sum(at::kDouble).item<double>();
  const double noise = (other - exact).square().sum(at::kDouble).item<double>();
  return signal > 0 ? noise / signal : noise;
}

}  // namespace

absl::StatusOr<std::unique_ptr<OutputProbe>> OutputProbe::Create(const Graph& graph,
                                                                 std::vector<std::vector<at::Tensor>> batches,
                                                                 at::Device device) {
  auto probe = std::unique_ptr<OutputProbe>(new OutputProbe());
  probe->batches_ = std::move(batches);
  probe->device_ = device;
  const Node* last = graph.Producer(graph.outputs[0].name);
  while (last != nullptr && last->op_type == "Identity") last = graph.Producer(last->inputs[0]);
  if (last != nullptr && last->op_type == "Softmax") probe->head_ = Head::kProbabilities;
  if (last != nullptr && last->op_type == "LogSoftmax") probe->head_ = Head::kLogProbabilities;
  const auto bind = [&](const Node& node) -> absl::StatusOr<Kernel> {
    if (node.op_type == "FakeQuantizeBias") {
      return Kernel([](at::ArrayRef<at::Tensor> inputs) { return std::vector<at::Tensor>{inputs[0]}; });
    }
    // A map's elements stay where they are.
    Quantizer** active = &probe->active_[node.StringOr("quantizer", "")];
    return Kernel([active](at::ArrayRef<at::Tensor> inputs) {
      return std::vector<at::Tensor>{*active == nullptr ? inputs[0] : (*active)->Apply(inputs[0])};
    });
  };
  PACTORY_ASSIGN_OR_RETURN(probe->executor_, Executor::Create(graph, bind));
  probe->executor_->To(device);
  PACTORY_ASSIGN_OR_RETURN(probe->float_outputs_, probe->OutputsOf({}));
  return probe;
}

absl::StatusOr<at::Tensor> OutputProbe::OutputsOf(absl::Span<const QuantizerSpec> specs) {
  c10::NoGradGuard no_grad;
  std::vector<std::unique_ptr<Quantizer>> quantizers;
  for (const QuantizerSpec& spec : specs) {
    const auto slot = active_.find(spec.id);
    if (slot == active_.end()) return absl::InternalError(absl::StrCat("graph must have the quantizer: id=", spec.id));
    PACTORY_ASSIGN_OR_RETURN(auto quantizer, MakeQuantizer(spec));
    quantizer->To(device_);
    slot->second = quantizer.get();
    quantizers.push_back(std::move(quantizer));
  }
  at::Tensor outputs;
  const auto run = [&]() -> absl::Status {
    std::vector<at::Tensor> parts;
    for (const std::vector<at::Tensor>& batch : batches_) {
      std::vector<at::Tensor> results;
      PACTORY_ASSIGN_OR_RETURN(results, executor_->Run(OnDevice(batch, device_)));
      parts.push_back(results[0].to(at::kCPU, at::kFloat));
    }
    return GuardTorch("output probe", [&] {
      outputs = at::cat(parts, 0);
      return absl::OkStatus();
    });
  };
  const absl::Status status = run();
  for (const QuantizerSpec& spec : specs) active_.at(spec.id) = nullptr;
  if (!status.ok()) return status;
  return outputs;
}

absl::StatusOr<double> OutputProbe::ErrorOf(absl::Span<const QuantizerSpec> specs) {
  PACTORY_ASSIGN_OR_RETURN(const at::Tensor outputs, OutputsOf(specs));
  double error = 0;
  PACTORY_RETURN_IF_ERROR(GuardTorch("output error", [&] {
    switch (head_) {
      case Head::kProbabilities: error = SummedDivergence(float_outputs_, outputs); break;
      case Head::kLogProbabilities: error = SummedDivergence(float_outputs_.exp(), outputs.exp()); break;
      case Head::kOther: error = RelativeNoise(float_outputs_, outputs); break;
    }
    return absl::OkStatus();
  }));
  return std::isfinite(error) ? error : std::numeric_limits<double>::infinity();
}

}  // namespace pactory::quant

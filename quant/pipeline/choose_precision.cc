#include "quant/pipeline/choose_precision.h"

#include <c10/core/GradMode.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "quant/pipeline/calibrate.h"
#include "quant/pipeline/choose_quantizers.h"

namespace pactory::quant {
namespace {

constexpr int32_t kFloatBits = 32;

class PrecisionSearch {
 public:
  explicit PrecisionSearch(PipelineState& state)
      : state_(state), target_(state.config.mixed_precision()), layers_(state.sensitivity) {
    if (!target_.has_max_size_ratio()) return;
    // Under a limit of size each byte is to save as much error as it can.
    std::stable_sort(layers_.begin(), layers_.end(), [](const LayerSensitivity& a, const LayerSensitivity& b) {
      return a.error * static_cast<double>(b.params) > b.error * static_cast<double>(a.params);
    });
  }

  absl::Status Run() {
    PACTORY_ASSIGN_OR_RETURN(const int64_t count, target_.has_min_agreement() ? FewestThatAgree() : MostThatFit());
    state_.config = ConfigOf(count);
    // The choice replaces the question: the same config gives the same file again.
    state_.config.clear_mixed_precision();
    std::vector<std::string> names;
    for (int64_t i = 0; i < count; ++i) names.push_back(layers_[i].node);
    state_.report.warnings.push_back(absl::StrFormat("mixed_precision: %d of %d layers at %d bits: %s", count, layers_.size(),
                                                     target_.sensitive_bits(), absl::StrJoin(names, ", ")));
    return absl::OkStatus();
  }

 private:
  // A model without any quantizer is none.
  int64_t Largest() const {
    return static_cast<int64_t>(layers_.size()) - (target_.sensitive_bits() == kFloatBits ? 1 : 0);
  }

  v1::QuantizationConfig ConfigOf(int64_t sensitive) const {
    v1::QuantizationConfig config = state_.config;
    for (int64_t i = 0; i < sensitive; ++i) {
      v1::LayerOverride* layer = config.add_overrides();
      layer->set_name(layers_[i].node);
      if (target_.sensitive_bits() == kFloatBits) {
        layer->set_skip(true);
      } else {
        layer->set_weight_bits(target_.sensitive_bits());
        layer->set_activation_bits(std::max(target_.sensitive_bits(), config.activations().bits()));
      }
    }
    return config;
  }

  struct Candidate {
    QuantizationPlan plan;
    std::unique_ptr<QuantizedModel> model;
  };

  absl::StatusOr<Candidate> MakeCandidate(int64_t sensitive) {
    const v1::QuantizationConfig config = ConfigOf(sensitive);
    Candidate candidate;
    Graph graph = state_.graph;
    PACTORY_ASSIGN_OR_RETURN(candidate.plan, InsertQuantizers(graph, config));
    std::map<std::string, AbsHistogram> histograms = state_.histograms;
    const auto is_measured = [&](const ActivationPlacement& placement) { return histograms.contains(placement.id); };
    // Where a layer's quantizer no longer reaches through an op, the value behind has one of its own.
    if (!std::all_of(candidate.plan.activations.begin(), candidate.plan.activations.end(), is_measured)) {
      CalibrationOptions options;
      options.samples = config.calibration().samples();
      options.batch_size = config.training().batch_size();
      options.seed = config.training().seed();
      options.device = state_.device;
      PACTORY_ASSIGN_OR_RETURN(Calibration calibration, Calibrate(graph, *state_.train, options));
      histograms = std::move(calibration.histograms);
    }
    for (WeightPlacement& weight : candidate.plan.weights) {
      const auto known = std::find_if(state_.plan.weights.begin(), state_.plan.weights.end(),
                                      [&](const WeightPlacement& other) { return other.id == weight.id; });
      if (known != state_.plan.weights.end()) weight.range = known->range;
    }
    PACTORY_ASSIGN_OR_RETURN(const std::vector<QuantizerSpec> specs,
                             ChooseQuantizers(candidate.plan, histograms, config, state_.thresholds));
    PACTORY_ASSIGN_OR_RETURN(candidate.model, QuantizedModel::Create(graph, specs));
    return candidate;
  }

  // Calls `visit` with the inputs of each batch of the calibration samples.
  absl::Status ForEachBatch(const std::function<absl::Status(const at::Tensor& x)>& visit) {
    std::vector<int64_t> order = CalibrationOrder(*state_.train, state_.config.training().seed());
    const size_t batch = static_cast<size_t>(state_.config.training().batch_size());
    order.resize(std::min(order.size(), static_cast<size_t>(state_.config.calibration().samples())));
    // A model of a fixed batch takes no smaller one.
    if (order.size() > batch) order.resize(order.size() / batch * batch);
    for (size_t begin = 0; begin < order.size(); begin += batch) {
      const size_t count = std::min(batch, order.size() - begin);
      PACTORY_ASSIGN_OR_RETURN(const Batch read, state_.train->Read(absl::MakeConstSpan(order).subspan(begin, count)));
      PACTORY_RETURN_IF_ERROR(visit(read.x.to(state_.device)));
      PACTORY_RETURN_IF_ERROR(state_.meter.Advance(1));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<at::Tensor> AnswersOn(Executor& executor, const at::Tensor& x) {
    std::vector<at::Tensor> outputs;
    PACTORY_ASSIGN_OR_RETURN(outputs, executor.Run({x}));
    return state_.metric.Answers(outputs[0].to(at::kCPU, at::kFloat));
  }

  absl::StatusOr<double> Agreement(int64_t sensitive) {
    c10::NoGradGuard no_grad;
    if (exact_.empty()) {
      PACTORY_RETURN_IF_ERROR(ForEachBatch([&](const at::Tensor& x) -> absl::Status {
        PACTORY_ASSIGN_OR_RETURN(at::Tensor answers, AnswersOn(*state_.fp32, x));
        exact_.push_back(std::move(answers));
        return absl::OkStatus();
      }));
    }
    PACTORY_ASSIGN_OR_RETURN(const Candidate candidate, MakeCandidate(sensitive));
    candidate.model->To(state_.device);
    Accuracy sum;
    size_t batch = 0;
    PACTORY_RETURN_IF_ERROR(ForEachBatch([&](const at::Tensor& x) -> absl::Status {
      PACTORY_ASSIGN_OR_RETURN(const at::Tensor answers, AnswersOn(candidate.model->executor(), x));
      PACTORY_ASSIGN_OR_RETURN(const Accuracy equal, state_.metric.Compare(answers, exact_[batch++]));
      sum.right += equal.right;
      sum.total += equal.total;
      return absl::OkStatus();
    }));
    return sum.share();
  }

  absl::StatusOr<double> SizeRatio(int64_t sensitive) {
    PACTORY_ASSIGN_OR_RETURN(const Candidate candidate, MakeCandidate(sensitive));
    PACTORY_ASSIGN_OR_RETURN(const ExportedModel exported, ExportModel(*candidate.model, candidate.plan, state_.config.export_()));
    return static_cast<double>(exported.bytes.size()) / static_cast<double>(std::max<int64_t>(1, state_.report.fp32_bytes));
  }

  absl::StatusOr<int64_t> FewestThatAgree() {
    // The agreement grows with the number, but for noise: doubling finds an end, halving the place.
    int64_t too_few = -1, enough = 0;
    while (true) {
      PACTORY_ASSIGN_OR_RETURN(const double agreement, Agreement(enough));
      if (agreement >= target_.min_agreement()) break;
      if (enough == Largest()) {
        state_.report.warnings.push_back(
            absl::StrFormat("mixed_precision.min_agreement was not reached with %d of %d layers at %d bits: agreement=%.4f target=%.4f",
                            enough, layers_.size(), target_.sensitive_bits(), agreement, target_.min_agreement()));
        return enough;
      }
      too_few = enough;
      enough = std::min(Largest(), std::max<int64_t>(1, 2 * enough));
    }
    while (enough - too_few > 1) {
      const int64_t middle = (too_few + enough) / 2;
      PACTORY_ASSIGN_OR_RETURN(const double agreement, Agreement(middle));
      (agreement >= target_.min_agreement() ? enough : too_few) = middle;
    }
    return enough;
  }

  absl::StatusOr<int64_t> MostThatFit() {
    PACTORY_ASSIGN_OR_RETURN(const double least, SizeRatio(0));
    if (least > target_.max_size_ratio()) {
      return WithReason(InvalidField("mixed_precision.max_size_ratio",
                                     absl::StrFormat("must leave room for the file with all layers at weights.bits, which has %.4f of "
                                                     "the uploaded file's bytes, not %.4f",
                                                     least, target_.max_size_ratio())),
                        "BAD_CONFIG");
    }
    int64_t fits = 0, too_many = Largest() + 1;
    while (too_many - fits > 1) {
      const int64_t middle = (fits + too_many) / 2;
      PACTORY_ASSIGN_OR_RETURN(const double ratio, SizeRatio(middle));
      (ratio <= target_.max_size_ratio() ? fits : too_many) = middle;
    }
    return fits;
  }

  PipelineState& state_;
  const v1::MixedPrecisionConfig target_;
  std::vector<LayerSensitivity> layers_;
  // The FP32 model's answers, by batch.
  std::vector<at::Tensor> exact_;
};

}  // namespace

absl::Status ChoosePrecision(PipelineState& state) { return PrecisionSearch(state).Run(); }

}  // namespace pactory::quant

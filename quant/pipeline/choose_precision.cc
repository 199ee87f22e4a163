#include "quant/pipeline/choose_precision.h"

#include <c10/core/GradMode.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "quant/pipeline/calibrate.h"
#include "quant/pipeline/choose_quantizers.h"
#include "quant/pipeline/moved_model.h"
#include "quant/pipeline/precision_upgrades.h"
#include "quant/quantizers/grid.h"

namespace pactory::quant {
namespace {

// How often each sample is tried with what runtimes differ in.
constexpr int64_t kDraws = 3;

class PrecisionSearch {
 public:
  explicit PrecisionSearch(PipelineState& state) : state_(state), target_(state.config.mixed_precision()) {}

  absl::Status Run() {
    int64_t count = 0;
    if (target_.has_max_size_ratio()) {
      // What a layer's activations cost can be had without bytes where the other target will have them in float.
      upgrades_ = UpgradesByByte(state_.sensitivity, target_, target_.has_min_agreement() || target_.has_min_deployed_agreement());
      PACTORY_ASSIGN_OR_RETURN(count, MostThatFit());
      upgrades_.resize(static_cast<size_t>(count));
    }
    if (target_.has_min_agreement() || target_.has_min_deployed_agreement()) {
      const bool activations_alone = target_.has_max_size_ratio() || !target_.has_min_agreement();
      std::vector<Upgrade> more = activations_alone ? FloatActivations(state_.sensitivity, state_.plan, upgrades_)
                                                    : UpgradesByError(state_.sensitivity, target_);
      upgrades_.insert(upgrades_.end(), more.begin(), more.end());
      PACTORY_ASSIGN_OR_RETURN(count, FewestThatAgree(count));
    }
    Report(count);
    state_.config = ConfigOf(count);
    // The choice replaces the question: the same config gives the same file again.
    state_.config.clear_mixed_precision();
    return absl::OkStatus();
  }

 private:
  absl::Span<const Upgrade> First(int64_t count) const { return absl::MakeConstSpan(upgrades_).subspan(0, static_cast<size_t>(count)); }

  v1::QuantizationConfig ConfigOf(int64_t count) const { return WithUpgrades(state_.config, First(count)); }

  void Report(int64_t count) {
    std::vector<std::string> names, with_float_activations;
    for (const Upgrade& upgrade : LastOfEachLayer(First(count))) {
      const bool keeps_weights = upgrade.precision == Upgrade::Precision::kFloatActivations;
      (keeps_weights ? with_float_activations : names).push_back(upgrade.layer.node);
      if (upgrade.precision == Upgrade::Precision::kSensitiveBits) continue;
      state_.precision_reasons[upgrade.layer.node] =
          absl::StrFormat("mixed precision: quantized alone it moves the output by %.3g, its weights alone by %.3g",
                          upgrade.layer.error, upgrade.layer.weight_error);
    }
    std::string warning = absl::StrFormat("mixed_precision: %d of %d layers at %d bits", names.size(), state_.sensitivity.size(),
                                          target_.sensitive_bits());
    if (!names.empty()) absl::StrAppend(&warning, ": ", absl::StrJoin(names, ", "));
    if (!with_float_activations.empty()) {
      absl::StrAppend(&warning, "; ", with_float_activations.size(), " more with float activations: ",
                      absl::StrJoin(with_float_activations, ", "));
    }
    state_.report.warnings.push_back(std::move(warning));
  }

  struct Candidate {
    QuantizationPlan plan;
    std::vector<QuantizerSpec> specs;
    std::unique_ptr<QuantizedModel> model;
  };

  absl::StatusOr<Candidate> MakeCandidate(int64_t count) {
    const v1::QuantizationConfig config = ConfigOf(count);
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
      const auto reads_in_int8 = [&](const LayerPlan& layer) {
        return layer.weight_quantizer == weight.id && layer.compute == LayerCompute::kInt8;
      };
      if (std::none_of(candidate.plan.layers.begin(), candidate.plan.layers.end(), reads_in_int8)) weight.range = RangeInFloat(config);
    }
    PACTORY_ASSIGN_OR_RETURN(candidate.specs, ChooseQuantizers(candidate.plan, histograms, config, state_.thresholds));
    PACTORY_ASSIGN_OR_RETURN(candidate.model, QuantizedModel::Create(graph, candidate.specs));
    return candidate;
  }

  // Calls `visit` with the inputs of each batch of the calibration samples.
  absl::Status ForEachBatch(const std::function<absl::Status(const std::vector<at::Tensor>& inputs)>& visit) {
    std::vector<int64_t> order = CalibrationOrder(*state_.train, state_.config.training().seed());
    const size_t batch = static_cast<size_t>(state_.config.training().batch_size());
    order.resize(std::min(order.size(), static_cast<size_t>(state_.config.calibration().samples())));
    // A model of a fixed batch takes no smaller one.
    if (order.size() > batch) order.resize(order.size() / batch * batch);
    for (size_t begin = 0; begin < order.size(); begin += batch) {
      const size_t count = std::min(batch, order.size() - begin);
      PACTORY_ASSIGN_OR_RETURN(Batch read, state_.train->Read(absl::MakeConstSpan(order).subspan(begin, count)));
      PACTORY_RETURN_IF_ERROR(visit(OnDevice(std::move(read.inputs), state_.device)));
      PACTORY_RETURN_IF_ERROR(state_.meter.Advance(1));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<at::Tensor> AnswersOn(Executor& executor, const std::vector<at::Tensor>& inputs) {
    std::vector<at::Tensor> outputs;
    PACTORY_ASSIGN_OR_RETURN(outputs, executor.Run(inputs));
    return state_.metric.Answers(outputs[0].to(at::kCPU, at::kFloat));
  }

  // On the calibration samples.
  struct Agreement {
    Accuracy with_fp32;
    // As another runtime would compute it.
    Accuracy with_itself;
  };

  bool IsEnough(const Agreement& agreement) const {
    return agreement.with_fp32.share() >= target_.min_agreement() && agreement.with_itself.share() >= target_.min_deployed_agreement();
  }

  absl::Status KeepExactAnswers() {
    if (!exact_.empty()) return absl::OkStatus();
    return ForEachBatch([&](const std::vector<at::Tensor>& inputs) -> absl::Status {
      PACTORY_ASSIGN_OR_RETURN(at::Tensor answers, AnswersOn(*state_.fp32, inputs));
      exact_.push_back(std::move(answers));
      return absl::OkStatus();
    });
  }

  absl::StatusOr<Agreement> Measure(int64_t count) {
    c10::NoGradGuard no_grad;
    PACTORY_RETURN_IF_ERROR(KeepExactAnswers());
    PACTORY_ASSIGN_OR_RETURN(const Candidate candidate, MakeCandidate(count));
    candidate.model->To(state_.device);
    std::unique_ptr<QuantizedModel> moved;
    if (target_.has_min_deployed_agreement()) {
      PACTORY_ASSIGN_OR_RETURN(moved, MakeMovedModel(candidate.model->graph(), candidate.specs));
      moved->To(state_.device);
    }
    Agreement agreement;
    size_t batch = 0;
    PACTORY_RETURN_IF_ERROR(ForEachBatch([&](const std::vector<at::Tensor>& inputs) -> absl::Status {
      PACTORY_ASSIGN_OR_RETURN(const at::Tensor answers, AnswersOn(candidate.model->executor(), inputs));
      PACTORY_ASSIGN_OR_RETURN(const Accuracy equal, state_.metric.Agreement(answers, exact_[batch++]));
      agreement.with_fp32 += equal;
      for (int64_t draw = 0; moved != nullptr && draw < kDraws; ++draw) {
        PACTORY_ASSIGN_OR_RETURN(const at::Tensor others, AnswersOn(moved->executor(), inputs));
        PACTORY_ASSIGN_OR_RETURN(const Accuracy kept, state_.metric.Agreement(others, answers));
        agreement.with_itself += kept;
      }
      return absl::OkStatus();
    }));
    return agreement;
  }

  absl::StatusOr<double> SizeRatio(int64_t count) {
    PACTORY_ASSIGN_OR_RETURN(const Candidate candidate, MakeCandidate(count));
    PACTORY_ASSIGN_OR_RETURN(const ExportedModel exported, ExportModel(*candidate.model, candidate.plan, state_.config.export_()));
    return static_cast<double>(exported.bytes.size()) / static_cast<double>(std::max<int64_t>(1, state_.report.fp32_bytes));
  }

  // Of at least `least` upgrades.
  absl::StatusOr<int64_t> FewestThatAgree(int64_t least) {
    // The agreement grows with the number, but for noise: doubling finds an end, halving the place.
    const int64_t all = static_cast<int64_t>(upgrades_.size());
    int64_t too_few = least - 1, enough = least;
    while (true) {
      PACTORY_ASSIGN_OR_RETURN(const Agreement agreement, Measure(enough));
      if (IsEnough(agreement)) break;
      if (enough == all) {
        state_.report.warnings.push_back(absl::StrFormat(
            "mixed_precision: no choice of layers reaches the target on the calibration samples: min_agreement=%.4f reached=%.4f "
            "min_deployed_agreement=%.4f reached=%.4f",
            target_.min_agreement(), agreement.with_fp32.share(), target_.min_deployed_agreement(), agreement.with_itself.share()));
        return enough;
      }
      too_few = enough;
      enough = std::min(all, std::max(least + 1, least + 2 * (enough - least)));
    }
    while (enough - too_few > 1) {
      const int64_t middle = (too_few + enough) / 2;
      PACTORY_ASSIGN_OR_RETURN(const Agreement agreement, Measure(middle));
      (IsEnough(agreement) ? enough : too_few) = middle;
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
    int64_t fits = 0, too_many = static_cast<int64_t>(upgrades_.size()) + 1;
    while (too_many - fits > 1) {
      const int64_t middle = (fits + too_many) / 2;
      PACTORY_ASSIGN_OR_RETURN(const double ratio, SizeRatio(middle));
      (ratio <= target_.max_size_ratio() ? fits : too_many) = middle;
    }
    return fits;
  }

  PipelineState& state_;
  const v1::MixedPrecisionConfig target_;
  // In the order in which they are made.
  std::vector<Upgrade> upgrades_;
  // The FP32 model's answers, by batch.
  std::vector<at::Tensor> exact_;
};

}  // namespace

absl::Status ChoosePrecision(PipelineState& state) { return PrecisionSearch(state).Run(); }

}  // namespace pactory::quant

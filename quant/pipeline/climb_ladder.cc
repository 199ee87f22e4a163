#include <algorithm>
#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "config/config_text.h"
#include "quant/pipeline/stages.h"
#include "quant/pipeline/training_end.h"
#include "quant/pipeline/write_file.h"

namespace pactory::quant {
namespace {

using Contract = v1::ContractConfig;

// A rung that ran to its end, with all that the report and the files need of it.
struct Candidate {
  v1::QuantizationConfig config;
  Report report;
  std::map<std::string, at::Tensor> answers;
  at::Tensor trained_answers;
  ExportedModel exported;
  double share = 0;
  size_t rung = 0;
};

class Ladder {
 public:
  explicit Ladder(PipelineState& state)
      : state_(state), base_(state.config), contract_(state.config.contract()) {
    base_.clear_contract();
    report_.max_drop = contract_.max_drop();
    if (contract_.budget_seconds() > 0) state_.budget_end = absl::Now() + absl::Seconds(contract_.budget_seconds());
  }

  absl::Status Climb() {
    const Report before = state_.report;
    for (int i = 0; i < contract_.ladder_size() && !report_.met; ++i) {
      RungReport rung{.name = Contract::Rung_Name(contract_.ladder(i))};
      const auto begin = std::chrono::steady_clock::now();
      state_.report = before;
      state_.rung = i;
      PACTORY_RETURN_IF_ERROR(TryRung(contract_.ladder(i), rung));
      rung.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
      report_.rungs.push_back(std::move(rung));
      if (best_.has_value() && best_->rung == report_.rungs.size() - 1) report_.best = static_cast<int64_t>(best_->rung);
    }
    if (!best_.has_value()) {
      return last_failure_.ok() ? WithReason(absl::FailedPreconditionError("no rung of the contract's ladder was within its budget"),
                                             "GATE_FAILED")
                                : last_failure_;
    }
    return TakeBest();
  }

 private:
  absl::Status TryRung(Contract::Rung rung, RungReport& report) {
    v1::QuantizationConfig config = ConfigOf(rung, report);
    report.outcome = "skipped";
    if (absl::Now() >= state_.budget_end) return Skip(report, "the contract's budget of seconds is spent");
    // A job that ends early has at least one file.
    const std::string ended = best_.has_value() ? TrainingEndReason(state_, LastTrainingTime(state_)) : "";
    if (!ended.empty()) return Skip(report, ended);
    if (config.training().enabled() && !FitSteps(config)) return Skip(report, "the budget of steps is spent");
    if (!tried_.insert(ConfigToJson(config)).second) return Skip(report, "the same as an earlier rung");
    state_.config = config;
    state_.answers.erase("deployed");
    PlanQuantization(state_);
    const absl::Status status = Quantize(state_);
    report.steps = StepsOf(config, status.ok());
    steps_spent_ += report.steps;
    if (!status.ok()) return Fail(status, report);
    report.note = state_.report.history.ended_early;
    return Judge(report);
  }

  static absl::Status Skip(RungReport& report, std::string note) {
    report.note = std::move(note);
    return absl::OkStatus();
  }

  // What is wrong with the user's files or the host's disk is wrong on every rung; a training that diverged is not.
  absl::Status Fail(const absl::Status& status, RungReport& report) {
    static const std::set<std::string> kForAll = {"BAD_MODEL", "BAD_DATA", "BAD_CONFIG", "UNSUPPORTED_OP", "DISK_FULL"};
    if (absl::IsCancelled(status) || kForAll.contains(ReasonOf(status))) return status;
    report.outcome = "failed";
    report.note = std::string(status.message());
    last_failure_ = status;
    return absl::OkStatus();
  }

  absl::Status Judge(RungReport& report) {
    const auto deployed = state_.answers.find("deployed");
    const at::Tensor& last = deployed == state_.answers.end() ? state_.trained_answers : deployed->second;
    PACTORY_ASSIGN_OR_RETURN(report.accuracy, MeasureMetric(state_, last));
    const double share = report.accuracy->share();
    report.drop = state_.report.fp32->share() - share;
    const absl::Status gates = CheckGates(state_);
    const bool met = *report.drop <= contract_.max_drop() && gates.ok();
    report.outcome = met ? "met" : "missed";
    if (!gates.ok()) report.note = std::string(gates.message());
    // A file that fails its gates is taken only where no other is there.
    const double rank = gates.ok() ? share : share - 1;
    if (!best_.has_value() || rank > best_->share) {
      best_ = Candidate{.config = state_.config,
                        .report = state_.report,
                        .answers = state_.answers,
                        .trained_answers = state_.trained_answers,
                        .exported = state_.exported,
                        .share = rank,
                        .rung = report_.rungs.size()};
    }
    report_.met = met;
    return absl::OkStatus();
  }

  absl::Status TakeBest() {
    state_.config = best_->config;
    state_.report = std::move(best_->report);
    state_.answers = std::move(best_->answers);
    state_.trained_answers = best_->trained_answers;
    state_.exported = std::move(best_->exported);
    state_.report.contract = std::move(report_);
    // A later rung may have written over it.
    return WriteFile(state_.exported_path, state_.exported.bytes);
  }

  v1::QuantizationConfig ConfigOf(Contract::Rung rung, RungReport& report) {
    v1::QuantizationConfig config = base_;
    config.mutable_training()->set_enabled(rung != Contract::PTQ);
    switch (rung) {
      case Contract::PTQ:
        // The range is calibrated, not where alpha would have started.
        config.mutable_activations()->mutable_alpha()->set_init(0);
        break;
      case Contract::PACT:
        config.mutable_activations()->set_method(v1::PACT_TWO_SIDED);
        break;
      case Contract::LSQ_PLUS: {
        const bool symmetric = base_.export_().profile() == v1::ExportConfig::TENSORRT;
        config.mutable_activations()->set_method(symmetric ? v1::LSQ : v1::LSQ_PLUS);
        break;
      }
      case Contract::DISTILLATION: {
        const bool trained = best_.has_value() && best_->config.training().enabled();
        config.mutable_activations()->set_method(trained ? best_->config.activations().method() : v1::PACT_TWO_SIDED);
        config.mutable_training()->set_task_loss_weight(0);
        config.mutable_training()->set_distillation_loss_weight(1);
        break;
      }
      default:
        if (best_.has_value()) config = best_->config;
        KeepInFloat(config, report);
    }
    return config;
  }

  // The layers whose quantization alone moves the output most, of those that the best rung quantizes.
  void KeepInFloat(v1::QuantizationConfig& config, RungReport& report) {
    std::vector<LayerReport> layers = best_.has_value() ? best_->report.layers : std::vector<LayerReport>();
    std::erase_if(layers, [](const LayerReport& layer) { return layer.weight_bits == 32 || !layer.sensitivity.has_value(); });
    std::stable_sort(layers.begin(), layers.end(),
                     [](const LayerReport& a, const LayerReport& b) { return *a.sensitivity > *b.sensitivity; });
    if (layers.size() > static_cast<size_t>(contract_.float_layers())) layers.resize(static_cast<size_t>(contract_.float_layers()));
    for (const LayerReport& layer : layers) {
      v1::LayerOverride* entry = config.add_overrides();
      entry->set_name(layer.name);
      entry->set_skip(true);
      report.float_layers.push_back(layer.name);
    }
  }

  // A training that failed does not say how far it came.
  int64_t StepsOf(const v1::QuantizationConfig& config, bool done) const {
    if (!config.training().enabled()) return 0;
    const std::vector<StepRecord>& steps = state_.report.history.steps;
    return done && !steps.empty() ? steps.back().step : config.training().steps();
  }

  // Gives the training what is left of the steps; false where nothing is.
  bool FitSteps(v1::QuantizationConfig& config) const {
    if (contract_.budget_steps() == 0) return true;
    const int64_t left = contract_.budget_steps() - steps_spent_;
    if (left <= 0) return false;
    auto* training = config.mutable_training();
    training->set_steps(static_cast<int32_t>(std::min<int64_t>(training->steps(), left)));
    training->set_warmup_steps(std::min(training->warmup_steps(), training->steps()));
    return true;
  }

  PipelineState& state_;
  v1::QuantizationConfig base_;
  const Contract contract_;
  ContractReport report_;
  std::optional<Candidate> best_;
  int64_t steps_spent_ = 0;
  std::set<std::string> tried_;
  absl::Status last_failure_;
};

}  // namespace

absl::Status ClimbLadder(PipelineState& state) { return Ladder(state).Climb(); }

}  // namespace pactory::quant

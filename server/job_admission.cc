#include "server/job_admission.h"

#include <bit>
#include <cstdint>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "config/config_rules.h"
#include "npz/dataset_layout.h"
#include "npz/preprocess_inputs.h"
#include "server/request_fields.h"

namespace pactory {
namespace {

constexpr int kDefaultMaxAttempts = 3;
constexpr int kMaxMaxAttempts = 20;
constexpr int64_t kDefaultDeadlineSeconds = 24 * 3600;
constexpr int64_t kMaxDeadlineSeconds = 30 * 24 * 3600;
constexpr int64_t kDefaultStallSeconds = 30 * 60;

constexpr int kMaxMemoryGib = 4096;

absl::Status CompleteResources(v1::JobSpec& spec) {
  v1::Resources& resources = *spec.mutable_resources();
  if (!v1::Resources::WorkerKind_IsValid(resources.worker_kind())) {
    return InvalidField("job.spec.resources.worker_kind", "must be ANY, CPU or GPU");
  }
  const bool cuda = spec.config().device() == v1::QuantizationConfig::CUDA;
  if (resources.worker_kind() == v1::Resources::WORKER_KIND_UNSPECIFIED) {
    resources.set_worker_kind(cuda ? v1::Resources::GPU : v1::Resources::ANY);
  }
  if (cuda && resources.worker_kind() != v1::Resources::GPU) {
    return InvalidField("job.spec.resources.worker_kind", "must be GPU for a config whose device is CUDA");
  }
  if (resources.memory_gib() < 0 || resources.memory_gib() > kMaxMemoryGib) {
    return InvalidField("job.spec.resources.memory_gib",
                        absl::StrCat("must be 0 to ", kMaxMemoryGib, ": ", resources.memory_gib()));
  }
  // Few different sizes keep the queue's lines few (migrations/009_share_workers.up.sql).
  if (resources.memory_gib() > 0) resources.set_memory_gib(std::bit_ceil(static_cast<unsigned>(resources.memory_gib())));
  return absl::OkStatus();
}

absl::Status CompleteLimits(v1::JobSpec& spec) {
  if (spec.max_attempts() < 0 || spec.max_attempts() > kMaxMaxAttempts) {
    return InvalidField("job.spec.max_attempts",
                        absl::StrCat("must be 1 to ", kMaxMaxAttempts, ": ", spec.max_attempts()));
  }
  if (spec.max_attempts() == 0) spec.set_max_attempts(kDefaultMaxAttempts);
  if (!spec.has_deadline()) spec.mutable_deadline()->set_seconds(kDefaultDeadlineSeconds);
  const int64_t seconds = spec.deadline().seconds();
  if (seconds < 1 || seconds > kMaxDeadlineSeconds || spec.deadline().nanos() < 0) {
    return InvalidField("job.spec.deadline",
                        absl::StrCat("must be 1 s to ", kMaxDeadlineSeconds, " s: ", seconds, " s"));
  }
  if (!spec.has_stall()) spec.mutable_stall()->set_seconds(kDefaultStallSeconds);
  if (spec.stall().seconds() < 1 || spec.stall().seconds() > kMaxDeadlineSeconds || spec.stall().nanos() < 0) {
    return InvalidField("job.spec.stall", absl::StrCat("must be 1 s to ", kMaxDeadlineSeconds,
                                                       " s: ", spec.stall().seconds(), " s"));
  }
  return absl::OkStatus();
}

// The message of the config's rules names a field of the config; here it is one of the job.
absl::Status AsFieldOfJob(const absl::Status& status) {
  if (status.ok() || FieldOf(status).empty()) return status;
  const std::string field = absl::StrCat("job.spec.config.", FieldOf(status));
  const absl::string_view message = status.message();
  const std::string own_prefix = absl::StrCat(FieldOf(status), ": ");
  const bool prefixed = message.substr(0, own_prefix.size()) == own_prefix;
  return InvalidField(field, prefixed ? message.substr(own_prefix.size()) : message);
}

// Whether it is known that there are none: a tar always has them.
bool LacksLabels(const v1::Dataset& dataset) { return !dataset.arrays().empty() && !HasLabels(dataset.arrays()); }

absl::Status CheckLabels(const v1::QuantizationConfig& config, const v1::Dataset& train, const v1::Dataset& eval) {
  // Targets are the trainer's to check, which knows the model's outputs.
  const auto loss = config.training().task_loss();
  const bool by_targets = loss == v1::TrainingConfig::MSE || loss == v1::TrainingConfig::L1 || loss == v1::TrainingConfig::DICE;
  if (!by_targets && config.training().task_loss_weight() > 0 && LacksLabels(train)) {
    return InvalidField("job.spec.config.training.task_loss_weight",
                        "must be 0 for training data without labels (`y`); use the distillation loss alone");
  }
  const auto metric = config.evaluation().metric();
  const bool by_labels = metric == v1::EvaluationConfig::TOP1 || metric == v1::EvaluationConfig::CTC_EXACT ||
                         metric == v1::EvaluationConfig::CTC_CHARACTERS;
  if (by_labels && LacksLabels(eval)) {
    return InvalidField("job.spec.config.evaluation.metric",
                        "must be AGREEMENT, CTC_AGREEMENT or IOU for evaluation data without labels (`y`)");
  }
  const bool by_regions = metric == v1::EvaluationConfig::TEXT_HMEAN || metric == v1::EvaluationConfig::COCO_MAP;
  if (by_regions && eval.format() == v1::Dataset::NPZ) {
    return InvalidField("job.spec.config.evaluation.metric",
                        absl::StrCat(v1::EvaluationConfig::Metric_Name(metric),
                                     " needs evaluation data in a tar, with a .json file of regions beside each image"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckOps(const v1::Model& model, const std::vector<v1::WorkerCapabilities>& workers) {
  std::set<std::string> supported;
  for (const v1::WorkerCapabilities& worker : workers) supported.insert(worker.ops().begin(), worker.ops().end());
  if (supported.empty()) return absl::OkStatus();
  std::vector<std::string> missing;
  for (const v1::OpCount& op : model.ops()) {
    if (supported.count(op.op()) != 0) continue;
    std::string text = absl::StrCat(op.op(), " (", absl::StrJoin(op.nodes(), ", "));
    if (op.count() > op.nodes_size()) absl::StrAppend(&text, ", and ", op.count() - op.nodes_size(), " more");
    missing.push_back(absl::StrCat(text, ")"));
  }
  if (missing.empty()) return absl::OkStatus();
  return WithReason(
      InvalidField("job.spec.model",
                   absl::StrCat("the model's ops must be ones that a worker supports; replace or fold these: ",
                                absl::StrJoin(missing, "; "))),
      "UNSUPPORTED_OP");
}

absl::Status CheckInputs(absl::string_view field, const v1::Model& model, const v1::Dataset& dataset,
                         const v1::PreprocessConfig& preprocess) {
  absl::StatusOr<std::set<std::string>> scaled = PreprocessedInputs(preprocess, model);
  if (!scaled.ok()) return AsFieldOfJob(scaled.status());
  if (dataset.format() == v1::Dataset::TAR && model.inputs_size() != 1) {
    return WithReason(InvalidField(field, absl::StrCat("must be an .npz with an array for each of the model's ", model.inputs_size(),
                                                       " inputs; a tar of images feeds one")),
                      "BAD_DATA");
  }
  if (dataset.arrays().empty()) return absl::OkStatus();
  const absl::Status fits = ArraysOfInputs(model, dataset.arrays(), *scaled).status();
  return fits.ok() ? fits : WithReason(InvalidField(field, fits.message()), "BAD_DATA");
}

absl::Status JobAdmission::Complete(const std::string& tenant_id, v1::JobSpec& spec) {
  PACTORY_ASSIGN_OR_RETURN(const std::string model_id, ParseName("job.spec.model", "models", spec.model()));
  PACTORY_ASSIGN_OR_RETURN(const std::string train_id,
                           ParseName("job.spec.train_dataset", "datasets", spec.train_dataset()));
  PACTORY_ASSIGN_OR_RETURN(const std::string eval_id,
                           ParseName("job.spec.eval_dataset", "datasets", spec.eval_dataset()));
  spec.set_model(absl::StrCat("models/", model_id));
  spec.set_train_dataset(absl::StrCat("datasets/", train_id));
  spec.set_eval_dataset(absl::StrCat("datasets/", eval_id));
  PACTORY_RETURN_IF_ERROR(CompleteLimits(spec));
  PACTORY_RETURN_IF_ERROR(CompleteResources(spec));

  PACTORY_ASSIGN_OR_RETURN(const v1::Model model, models_.Get(tenant_id, model_id));
  PACTORY_ASSIGN_OR_RETURN(const v1::Dataset train, datasets_.Get(tenant_id, train_id));
  v1::Dataset eval = train;
  if (eval_id != train_id) {
    PACTORY_ASSIGN_OR_RETURN(eval, datasets_.Get(tenant_id, eval_id));
  }

  // Before the defaults: what the user leaves out follows the data, what the user asks for must fit it.
  PACTORY_RETURN_IF_ERROR(CheckLabels(spec.config(), train, eval));
  FillDefaults(*spec.mutable_config());
  PACTORY_RETURN_IF_ERROR(AsFieldOfJob(ValidateConfig(spec.config())));
  const v1::PreprocessConfig& preprocess = spec.config().preprocess();
  PACTORY_RETURN_IF_ERROR(AsFieldOfJob(CheckAugmentedInputs(preprocess, model)));
  PACTORY_RETURN_IF_ERROR(CheckInputs("job.spec.train_dataset", model, train, preprocess));
  PACTORY_RETURN_IF_ERROR(CheckInputs("job.spec.eval_dataset", model, eval, preprocess));
  PACTORY_ASSIGN_OR_RETURN(const std::vector<v1::WorkerCapabilities> workers, workers_.LiveCapabilities());
  return CheckOps(model, workers);
}

}  // namespace pactory

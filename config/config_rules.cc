#include "config/config_rules.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "config/quantizer_methods.h"

namespace pactory {
namespace {

using v1::QuantizationConfig;

// Sets `field` of `message` to `value` where it is absent.
#define PACTORY_DEFAULT(message, field, value) \
  if (!(message)->has_##field()) (message)->set_##field(value)
#define PACTORY_DEFAULT_ENUM(message, field, value) \
  if ((message)->field() == 0) (message)->set_##field(value)

absl::Status CheckRange(const char* field, double value, double low, double high) {
  if (std::isfinite(value) && value >= low && value <= high) return absl::OkStatus();
  return InvalidField(field, absl::StrCat("must be from ", low, " to ", high, ", not ", value));
}

bool TrainsBatchNorm(const QuantizationConfig& config) {
  return config.training().enabled() && config.training().batch_norm() == v1::TrainingConfig::TRAINED;
}

// Whether a weight's range is that of the folded weight at every step.
bool FollowsFolding(v1::QuantizerMethod method) { return method == v1::CHANNEL_ABS_MAX || method == v1::ABS_MAX; }

absl::Status CheckWeights(const v1::WeightConfig& weights) {
  PACTORY_RETURN_IF_ERROR(CheckRange("weights.bits", weights.bits(), 2, 8));
  PACTORY_RETURN_IF_ERROR(
      CheckRange("weights.learning_rate_multiplier", weights.learning_rate_multiplier(), 0, 1e6));
  return weights.method() == v1::NONE ? absl::OkStatus() : CheckWeightMethod("weights.method", weights.method());
}

absl::Status CheckRounding(const QuantizationConfig& config) {
  const v1::AdaRoundConfig& adaround = config.weights().adaround();
  PACTORY_RETURN_IF_ERROR(CheckRange("weights.adaround.steps", adaround.steps(), 1, 1e6));
  PACTORY_RETURN_IF_ERROR(CheckRange("weights.adaround.batch_size", adaround.batch_size(), 1, 65536));
  PACTORY_RETURN_IF_ERROR(CheckRange("weights.adaround.learning_rate", adaround.learning_rate(), 1e-9, 100));
  PACTORY_RETURN_IF_ERROR(CheckRange("weights.adaround.regularization", adaround.regularization(), 0, 1e6));
  if (config.weights().rounding() != v1::WeightConfig::ADAROUND) return absl::OkStatus();
  if (config.weights().method() != v1::CHANNEL_MSE) {
    return InvalidField("weights.method", absl::StrCat("must be CHANNEL_MSE for weights.rounding ADAROUND, whose scales stay, not ",
                                                       v1::QuantizerMethod_Name(config.weights().method())));
  }
  if (config.training().enabled()) {
    return InvalidField("weights.rounding",
                        "ADAROUND is for post-training quantization; set training.enabled to false, or the rounding to NEAREST");
  }
  return absl::OkStatus();
}

absl::Status CheckActivations(const v1::ActivationConfig& activations) {
  PACTORY_RETURN_IF_ERROR(CheckRange("activations.bits", activations.bits(), 2, 8));
  if (activations.method() != v1::NONE) {
    PACTORY_RETURN_IF_ERROR(CheckActivationMethod("activations.method", activations.method()));
  }
  if (!(activations.moving_rate() > 0 && activations.moving_rate() < 1)) {
    return InvalidField("activations.moving_rate",
                        absl::StrCat("must be between 0 and 1, both excluded, not ", activations.moving_rate()));
  }
  PACTORY_RETURN_IF_ERROR(CheckRange("activations.window", activations.window(), 1, 1e6));
  PACTORY_RETURN_IF_ERROR(CheckRange("activations.alpha.init", activations.alpha().init(), 0, 1e6));
  PACTORY_RETURN_IF_ERROR(CheckRange("activations.alpha.learning_rate_multiplier",
                                     activations.alpha().learning_rate_multiplier(), 0, 1e6));
  PACTORY_RETURN_IF_ERROR(CheckRange("activations.alpha.momentum", activations.alpha().momentum(), 0, 0.9999));
  PACTORY_RETURN_IF_ERROR(CheckRange("activations.alpha.weight_decay", activations.alpha().weight_decay(), 0, 100));
  return CheckRange("activations.alpha.l2", activations.alpha().l2(), 0, 1e3);
}

absl::Status CheckDistillationTargets(const v1::TrainingConfig& training) {
  for (int i = 0; i < training.distillation_targets_size(); ++i) {
    const v1::DistillationTarget& target = training.distillation_targets(i);
    const std::string path = absl::StrCat("training.distillation_targets[", i, "].");
    if (target.name().empty()) {
      return InvalidField(absl::StrCat(path, "name"), "must name a tensor or the node that writes it; `*` stands for any characters");
    }
    PACTORY_RETURN_IF_ERROR(CheckRange(absl::StrCat(path, "weight").c_str(), target.weight(), 0, 1e6));
  }
  return absl::OkStatus();
}

absl::Status CheckContract(const QuantizationConfig& config) {
  if (!config.has_contract()) return absl::OkStatus();
  const v1::ContractConfig& contract = config.contract();
  if (!contract.has_max_drop()) return InvalidField("contract.max_drop", "must be given");
  PACTORY_RETURN_IF_ERROR(CheckRange("contract.max_drop", contract.max_drop(), 0, 1));
  PACTORY_RETURN_IF_ERROR(CheckRange("contract.budget_seconds", contract.budget_seconds(), 0, 1e9));
  PACTORY_RETURN_IF_ERROR(CheckRange("contract.budget_steps", static_cast<double>(contract.budget_steps()), 0, 1e12));
  PACTORY_RETURN_IF_ERROR(CheckRange("contract.float_layers", contract.float_layers(), 1, 1e6));
  for (int i = 0; i < contract.ladder_size(); ++i) {
    if (contract.ladder(i) != v1::ContractConfig::RUNG_UNSPECIFIED) continue;
    return InvalidField(absl::StrCat("contract.ladder[", i, "]"), "must be PTQ, PACT, LSQ_PLUS, DISTILLATION or FLOAT_LAYERS");
  }
  if (config.training().plain_qat_baseline()) {
    return InvalidField("training.plain_qat_baseline", "must be false with a contract, whose rungs are compared instead");
  }
  return absl::OkStatus();
}

// What a profile's runtime has no form for.
absl::Status CheckExport(const QuantizationConfig& config) {
  const v1::ExportConfig& output = config.export_();
  const bool own_types = output.profile() == v1::ExportConfig::OPENVINO || output.profile() == v1::ExportConfig::TENSORRT;
  const auto method = config.activations().method();
  if (own_types && method != v1::NONE && config.activations().bits() != 8) {
    return InvalidField("activations.bits", absl::StrCat("must be 8 for export.profile ",
                                                         v1::ExportConfig::Profile_Name(output.profile()), ", not ",
                                                         config.activations().bits()));
  }
  for (int i = 0; own_types && i < config.overrides_size(); ++i) {
    const v1::LayerOverride& layer = config.overrides(i);
    if (!layer.has_activation_bits() || layer.activation_bits() == 8 || layer.activation_bits() == kFloatBits) continue;
    return InvalidField(absl::StrCat("overrides[", i, "].activation_bits"),
                        absl::StrCat("must be 8, or 32 for float, for export.profile ", v1::ExportConfig::Profile_Name(output.profile()), ", not ",
                                     config.overrides(i).activation_bits()));
  }
  if (output.profile() == v1::ExportConfig::TENSORRT) {
    PACTORY_RETURN_IF_ERROR(CheckSymmetricMethod("activations.method", method));
    for (int i = 0; i < config.overrides_size(); ++i) {
      PACTORY_RETURN_IF_ERROR(
          CheckSymmetricMethod(absl::StrCat("overrides[", i, "].activation_method"), config.overrides(i).activation_method()));
    }
  }
  if (output.activation_type() == v1::ExportConfig::INT8 && output.profile() != v1::ExportConfig::ORT_CPU) {
    return InvalidField("export.activation_type", "INT8 is a choice of export.profile ORT_CPU alone; leave it out");
  }
  return absl::OkStatus();
}

absl::Status CheckTraining(const v1::TrainingConfig& training) {
  PACTORY_RETURN_IF_ERROR(CheckRange("training.steps", training.steps(), 1, 1e8));
  PACTORY_RETURN_IF_ERROR(CheckRange("training.batch_size", training.batch_size(), 1, 65536));
  if (!(training.learning_rate() > 0 && training.learning_rate() <= 100)) {
    return InvalidField("training.learning_rate", absl::StrCat("must be above 0 and at most 100, not ", training.learning_rate()));
  }
  PACTORY_RETURN_IF_ERROR(CheckRange("training.momentum", training.momentum(), 0, 0.9999));
  PACTORY_RETURN_IF_ERROR(CheckRange("training.weight_decay", training.weight_decay(), 0, 100));
  PACTORY_RETURN_IF_ERROR(CheckRange("training.warmup_steps", training.warmup_steps(), 0, training.steps()));
  if (!(training.label_smoothing() >= 0 && training.label_smoothing() < 1)) {
    return InvalidField("training.label_smoothing", absl::StrCat("must be from 0 to below 1, not ", training.label_smoothing()));
  }
  PACTORY_RETURN_IF_ERROR(CheckRange("training.schedule_every", training.schedule_every(), 1, 1e8));
  if (!(training.schedule_factor() > 0 && training.schedule_factor() <= 1)) {
    return InvalidField("training.schedule_factor", absl::StrCat("must be above 0 and at most 1, not ", training.schedule_factor()));
  }
  PACTORY_RETURN_IF_ERROR(CheckRange("training.ema_decay", training.ema_decay(), 0, 0.999999));
  PACTORY_RETURN_IF_ERROR(CheckRange("training.clip_gradient_norm", training.clip_gradient_norm(), 0, 1e9));
  PACTORY_RETURN_IF_ERROR(CheckRange("training.distillation_loss_weight", training.distillation_loss_weight(), 0, 1e6));
  if (training.has_task_loss_weight()) {
    PACTORY_RETURN_IF_ERROR(CheckRange("training.task_loss_weight", training.task_loss_weight(), 0, 1e6));
    if (training.enabled() && training.task_loss_weight() == 0 && training.distillation_loss_weight() == 0) {
      return InvalidField("training.task_loss_weight",
                          "nothing is trained: task_loss_weight and distillation_loss_weight are both 0; set one above 0");
    }
  }
  if (!(training.distillation_temperature() > 0 && training.distillation_temperature() <= 1000)) {
    return InvalidField("training.distillation_temperature",
                        absl::StrCat("must be above 0 and at most 1000, not ", training.distillation_temperature()));
  }
  PACTORY_RETURN_IF_ERROR(CheckDistillationTargets(training));
  PACTORY_RETURN_IF_ERROR(CheckRange("training.batch_norm_freeze_at", training.batch_norm_freeze_at(), 0, 1));
  PACTORY_RETURN_IF_ERROR(
      CheckRange("training.batch_norm_reestimation_batches", training.batch_norm_reestimation_batches(), 0, 1e6));
  PACTORY_RETURN_IF_ERROR(CheckRange("training.max_seconds", training.max_seconds(), 0, 1e8));
  PACTORY_RETURN_IF_ERROR(CheckRange("training.last_step", training.last_step(), 0, training.steps()));
  PACTORY_RETURN_IF_ERROR(CheckRange("training.stop_at_metric_drop", training.stop_at_metric_drop(), -1, 1));
  if (training.has_stop_at_metric_drop() && training.evaluate_every() == 0) {
    return InvalidField("training.stop_at_metric_drop", "needs evaluations on the way; set training.evaluate_every above 0");
  }
  if (training.exploding_loss_factor() != 0) {
    PACTORY_RETURN_IF_ERROR(CheckRange("training.exploding_loss_factor", training.exploding_loss_factor(), 1, 1e9));
  }
  PACTORY_RETURN_IF_ERROR(CheckRange("training.record_every", training.record_every(), 1, 1e8));
  PACTORY_RETURN_IF_ERROR(CheckRange("training.warn_clipped_share", training.warn_clipped_share(), 0, 1));
  PACTORY_RETURN_IF_ERROR(CheckRange("training.evaluate_every", training.evaluate_every(), 0, 1e8));
  return CheckRange("training.checkpoint_every", training.checkpoint_every(), 1, 1e8);
}

absl::Status CheckAugmentation(const v1::AugmentationConfig& augmentation) {
  PACTORY_RETURN_IF_ERROR(CheckRange("preprocess.augmentation.horizontal_flip", augmentation.horizontal_flip(), 0, 1));
  PACTORY_RETURN_IF_ERROR(CheckRange("preprocess.augmentation.vertical_flip", augmentation.vertical_flip(), 0, 1));
  PACTORY_RETURN_IF_ERROR(CheckRange("preprocess.augmentation.crop_padding", augmentation.crop_padding(), 0, 4096));
  PACTORY_RETURN_IF_ERROR(CheckRange("preprocess.augmentation.min_crop_area", augmentation.min_crop_area(), 1e-3, 1));
  PACTORY_RETURN_IF_ERROR(CheckRange("preprocess.augmentation.zoom", augmentation.zoom(), 0, 0.9));
  PACTORY_RETURN_IF_ERROR(CheckRange("preprocess.augmentation.brightness", augmentation.brightness(), 0, 1));
  PACTORY_RETURN_IF_ERROR(CheckRange("preprocess.augmentation.contrast", augmentation.contrast(), 0, 1));
  PACTORY_RETURN_IF_ERROR(CheckRange("preprocess.augmentation.saturation", augmentation.saturation(), 0, 1));
  return CheckRange("preprocess.augmentation.hue", augmentation.hue(), 0, 1);
}

absl::Status CheckPreprocess(const v1::PreprocessConfig& preprocess) {
  for (const double std : preprocess.std()) {
    if (!std::isfinite(std) || std == 0) return InvalidField("preprocess.std", absl::StrCat("must not be 0, not ", std));
  }
  for (const double mean : preprocess.mean()) PACTORY_RETURN_IF_ERROR(CheckRange("preprocess.mean", mean, -1e9, 1e9));
  if (preprocess.has_scale()) PACTORY_RETURN_IF_ERROR(CheckRange("preprocess.scale", preprocess.scale(), -1e9, 1e9));
  if (preprocess.has_height()) PACTORY_RETURN_IF_ERROR(CheckRange("preprocess.height", preprocess.height(), 1, 16384));
  if (preprocess.has_width()) PACTORY_RETURN_IF_ERROR(CheckRange("preprocess.width", preprocess.width(), 1, 16384));
  return CheckAugmentation(preprocess.augmentation());
}

absl::Status CheckEvaluation(const v1::EvaluationConfig& evaluation) {
  PACTORY_RETURN_IF_ERROR(CheckRange("evaluation.batch_size", evaluation.batch_size(), 1, 65536));
  PACTORY_RETURN_IF_ERROR(CheckRange("evaluation.map_threshold", evaluation.map_threshold(), -1e9, 1e9));
  const v1::TextRegionConfig& regions = evaluation.text_regions();
  PACTORY_RETURN_IF_ERROR(CheckRange("evaluation.text_regions.box_threshold", regions.box_threshold(), 0, 1));
  PACTORY_RETURN_IF_ERROR(CheckRange("evaluation.text_regions.unclip_ratio", regions.unclip_ratio(), 0, 100));
  PACTORY_RETURN_IF_ERROR(CheckRange("evaluation.text_regions.min_size", regions.min_size(), 0, 1e4));
  PACTORY_RETURN_IF_ERROR(CheckRange("evaluation.text_regions.max_regions", regions.max_regions(), 1, 10000));
  const v1::BoxConfig& boxes = evaluation.boxes();
  PACTORY_RETURN_IF_ERROR(CheckRange("evaluation.boxes.min_score", boxes.min_score(), 0, 1));
  PACTORY_RETURN_IF_ERROR(CheckRange("evaluation.boxes.nms_iou", boxes.nms_iou(), 0, 1));
  PACTORY_RETURN_IF_ERROR(CheckRange("evaluation.boxes.max_boxes", boxes.max_boxes(), 1, 10000));
  return CheckRange("evaluation.boxes.agreement_score", boxes.agreement_score(), 0, 1);
}

absl::Status CheckMixedPrecision(const QuantizationConfig& config) {
  PACTORY_RETURN_IF_ERROR(CheckRange("sensitivity_samples", config.sensitivity_samples(), 0, 1e6));
  if (!config.has_mixed_precision()) return absl::OkStatus();
  const auto& mixed = config.mixed_precision();
  if (mixed.sensitive_bits() != kFloatBits) {
    PACTORY_RETURN_IF_ERROR(CheckRange("mixed_precision.sensitive_bits", mixed.sensitive_bits(), config.weights().bits() + 1, 8));
  }
  const bool one_target = mixed.has_min_agreement() != mixed.has_max_size_ratio() && !mixed.has_min_deployed_agreement();
  if (!mixed.has_min_agreement() && !mixed.has_max_size_ratio() && !mixed.has_min_deployed_agreement()) {
    return InvalidField("mixed_precision", "needs a target: min_agreement, max_size_ratio or min_deployed_agreement");
  }
  if (mixed.sensitive_bits() != kFloatBits && !one_target) {
    return InvalidField("mixed_precision.sensitive_bits",
                        absl::StrCat("must be 32 for min_deployed_agreement and for several targets, which choose float activations, not ",
                                     mixed.sensitive_bits()));
  }
  if (config.sensitivity_samples() == 0) {
    return InvalidField("sensitivity_samples", "must be above 0 for mixed_precision, which goes by the sensitivity of the layers");
  }
  if (mixed.has_min_agreement()) {
    PACTORY_RETURN_IF_ERROR(CheckRange("mixed_precision.min_agreement", mixed.min_agreement(), 1e-6, 1));
  }
  if (mixed.has_min_deployed_agreement()) {
    PACTORY_RETURN_IF_ERROR(CheckRange("mixed_precision.min_deployed_agreement", mixed.min_deployed_agreement(), 1e-6, 1));
  }
  return mixed.has_max_size_ratio() ? CheckRange("mixed_precision.max_size_ratio", mixed.max_size_ratio(), 1e-6, 1) : absl::OkStatus();
}

// The methods of an override: those of the whole model, as far as what else the config asks for leaves the choice.
absl::Status CheckOverriddenMethods(const QuantizationConfig& config, const v1::LayerOverride& layer, const std::string& path) {
  const v1::QuantizerMethod weights = layer.weight_method();
  if (weights == v1::NONE) return InvalidField(path + "weight_method", "must not be NONE; to leave the layer in float set `skip`");
  if (weights != v1::QUANTIZER_METHOD_UNSPECIFIED) {
    PACTORY_RETURN_IF_ERROR(CheckWeightMethod(path + "weight_method", weights));
    if (config.weights().rounding() == v1::WeightConfig::ADAROUND && weights != v1::CHANNEL_MSE) {
      return InvalidField(path + "weight_method", absl::StrCat("must be CHANNEL_MSE for weights.rounding ADAROUND, not ",
                                                               v1::QuantizerMethod_Name(weights)));
    }
    if (TrainsBatchNorm(config) && !FollowsFolding(weights)) {
      return InvalidField(path + "weight_method", absl::StrCat("must be CHANNEL_ABS_MAX or ABS_MAX for training.batch_norm TRAINED, not ",
                                                               v1::QuantizerMethod_Name(weights)));
    }
  }
  if (layer.weight_range() == v1::WeightConfig::AUTO) return InvalidField(path + "weight_range", "must be FULL or REDUCED, not AUTO");
  const v1::QuantizerMethod activations = layer.activation_method();
  if (activations == v1::QUANTIZER_METHOD_UNSPECIFIED) return absl::OkStatus();
  if (activations == v1::NONE) {
    return InvalidField(path + "activation_method", "must not be NONE; to leave the layer's input in float set `activation_bits` to 32");
  }
  if (config.activations().method() == v1::NONE) {
    return InvalidField(path + "activation_method", "must be absent where activations.method is NONE: no activation is quantized");
  }
  return CheckActivationMethod(path + "activation_method", activations);
}

absl::Status CheckOverrides(const QuantizationConfig& config) {
  for (int i = 0; i < config.overrides_size(); ++i) {
    const auto& layer = config.overrides(i);
    const std::string path = absl::StrCat("overrides[", i, "].");
    if (!layer.has_name() && !layer.has_op_type()) {
      return InvalidField(absl::StrCat(path, "name"), "an override needs `name` or `op_type`");
    }
    if (layer.has_weight_bits()) {
      PACTORY_RETURN_IF_ERROR(CheckRange(absl::StrCat(path, "weight_bits").c_str(), layer.weight_bits(), 2, 8));
    }
    if (layer.has_activation_bits() && layer.activation_bits() != kFloatBits) {
      PACTORY_RETURN_IF_ERROR(CheckRange(absl::StrCat(path, "activation_bits").c_str(), layer.activation_bits(), 2, 8));
    }
    PACTORY_RETURN_IF_ERROR(CheckOverriddenMethods(config, layer, path));
  }
  return absl::OkStatus();
}

// What reads or changes the folded weights and biases has no place where these are trained unfolded.
absl::Status CheckBatchNorm(const QuantizationConfig& config) {
  if (!TrainsBatchNorm(config)) return absl::OkStatus();
  const auto refuse = [](absl::string_view what) {
    return InvalidField("training.batch_norm", absl::StrCat("TRAINED goes with ", what, "; change that, or set it to FOLDED"));
  };
  const v1::QuantizerMethod weights = config.weights().method();
  if (weights != v1::NONE && !FollowsFolding(weights)) {
    return refuse(absl::StrCat("weights.method CHANNEL_ABS_MAX, ABS_MAX or NONE, whose scales follow the folding, not ",
                               v1::QuantizerMethod_Name(weights)));
  }
  if (config.calibration().bias_correction()) return refuse("calibration.bias_correction false");
  return absl::OkStatus();
}

}  // namespace

void FillDefaults(QuantizationConfig& config) {
  PACTORY_DEFAULT_ENUM(&config, device, QuantizationConfig::AUTO);
  PACTORY_DEFAULT(&config, first_last_bits, 8);
  PACTORY_DEFAULT(&config, sensitivity_samples, 8);
  if (config.has_mixed_precision()) PACTORY_DEFAULT(config.mutable_mixed_precision(), sensitive_bits, 32);
  auto* weights = config.mutable_weights();
  PACTORY_DEFAULT_ENUM(weights, rounding, v1::WeightConfig::NEAREST);
  const bool adaround = weights->rounding() == v1::WeightConfig::ADAROUND;
  PACTORY_DEFAULT_ENUM(weights, method, adaround ? v1::CHANNEL_MSE : v1::CHANNEL_ABS_MAX);
  PACTORY_DEFAULT(weights, bits, 8);
  PACTORY_DEFAULT_ENUM(weights, range, v1::WeightConfig::AUTO);
  PACTORY_DEFAULT(weights, learning_rate_multiplier, 1);
  PACTORY_DEFAULT(weights, equalize, false);
  PACTORY_DEFAULT(weights->mutable_adaround(), steps, 1000);
  PACTORY_DEFAULT(weights->mutable_adaround(), batch_size, 32);
  PACTORY_DEFAULT(weights->mutable_adaround(), learning_rate, 1e-2);
  PACTORY_DEFAULT(weights->mutable_adaround(), regularization, 1e-2);
  auto* activations = config.mutable_activations();
  PACTORY_DEFAULT_ENUM(activations, method, v1::PACT_TWO_SIDED);
  PACTORY_DEFAULT(activations, bits, 8);
  PACTORY_DEFAULT(activations, moving_rate, 0.9);
  PACTORY_DEFAULT(activations, window, 10000);
  auto* alpha = activations->mutable_alpha();
  PACTORY_DEFAULT(alpha, init, 0);
  PACTORY_DEFAULT(alpha, learning_rate_multiplier, 10);
  PACTORY_DEFAULT(alpha, l2, 1e-4);
  PACTORY_DEFAULT(alpha, weight_decay, 0);
  auto* calibration = config.mutable_calibration();
  PACTORY_DEFAULT(calibration, samples, 512);
  PACTORY_DEFAULT_ENUM(calibration, threshold, v1::CalibrationConfig::MSE);
  PACTORY_DEFAULT(calibration, percentile, 99.99);
  PACTORY_DEFAULT(calibration, bias_correction, false);
  PACTORY_DEFAULT(calibration, search_samples, 8);
  auto* training = config.mutable_training();
  PACTORY_DEFAULT(training, enabled, true);
  PACTORY_DEFAULT(training, steps, 300);
  PACTORY_DEFAULT(training, batch_size, 32);
  PACTORY_DEFAULT(training, learning_rate, 1e-4);
  PACTORY_DEFAULT_ENUM(training, optimizer, v1::TrainingConfig::ADAMW);
  PACTORY_DEFAULT(training, momentum, 0.9);
  PACTORY_DEFAULT(training, weight_decay, 1e-5);
  PACTORY_DEFAULT_ENUM(training, schedule, v1::TrainingConfig::COSINE);
  PACTORY_DEFAULT(training, warmup_steps, 0);
  PACTORY_DEFAULT_ENUM(training, task_loss, v1::TrainingConfig::CROSS_ENTROPY);
  PACTORY_DEFAULT(training, label_smoothing, 0);
  PACTORY_DEFAULT(training, nesterov, false);
  PACTORY_DEFAULT(training, schedule_every, std::max(1, training->steps() / 3));
  PACTORY_DEFAULT(training, schedule_factor, 0.1);
  PACTORY_DEFAULT(training, ema_decay, 0);
  PACTORY_DEFAULT(training, clip_gradient_norm, 1);
  // task_loss_weight stays absent: its default depends on whether the data has labels.
  PACTORY_DEFAULT(training, distillation_loss_weight, 1);
  PACTORY_DEFAULT(training, distillation_temperature, 1);
  for (auto& target : *training->mutable_distillation_targets()) {
    PACTORY_DEFAULT_ENUM(&target, divergence, v1::DistillationTarget::AUTO);
    PACTORY_DEFAULT(&target, weight, 1);
  }
  PACTORY_DEFAULT(training, relative_learning_rate, false);
  PACTORY_DEFAULT(training, seed, 1);
  PACTORY_DEFAULT(training, evaluate_every, 0);
  PACTORY_DEFAULT(training, checkpoint_every, std::max(10, training->steps() / 20));
  PACTORY_DEFAULT_ENUM(training, batch_norm, v1::TrainingConfig::FOLDED);
  PACTORY_DEFAULT(training, batch_norm_freeze_at, 0.5);
  PACTORY_DEFAULT(training, batch_norm_reestimation_batches, 0);
  // keep stays absent: its default depends on how training ends.
  PACTORY_DEFAULT(training, max_seconds, 0);
  PACTORY_DEFAULT(training, last_step, 0);
  // stop_at_metric_drop stays absent: every number asks for an end.
  PACTORY_DEFAULT(training, exploding_loss_factor, 10);
  PACTORY_DEFAULT(training, record_every, std::max(10, training->steps() / 100));
  PACTORY_DEFAULT(training, warn_clipped_share, 0.1);
  PACTORY_DEFAULT(training, plain_qat_baseline, false);
  PACTORY_DEFAULT(training, halve_batch_on_out_of_memory, true);
  auto* preprocess = config.mutable_preprocess();
  // scale, height and width stay absent: they depend on the data and the model.
  PACTORY_DEFAULT_ENUM(preprocess, channel_order, v1::PreprocessConfig::RGB);
  PACTORY_DEFAULT(preprocess, keep_ratio, false);
  auto* augmentation = preprocess->mutable_augmentation();
  PACTORY_DEFAULT(augmentation, horizontal_flip, 0);
  PACTORY_DEFAULT(augmentation, vertical_flip, 0);
  PACTORY_DEFAULT(augmentation, crop_padding, 0);
  PACTORY_DEFAULT(augmentation, min_crop_area, 1);
  PACTORY_DEFAULT(augmentation, zoom, 0);
  PACTORY_DEFAULT(augmentation, brightness, 0);
  PACTORY_DEFAULT(augmentation, contrast, 0);
  PACTORY_DEFAULT(augmentation, saturation, 0);
  PACTORY_DEFAULT(augmentation, hue, 0);
  auto* evaluation = config.mutable_evaluation();
  PACTORY_DEFAULT(evaluation, batch_size, 64);
  // The metric stays unspecified: its default depends on the data and the model.
  PACTORY_DEFAULT(evaluation, map_threshold, 0.3);
  auto* regions = evaluation->mutable_text_regions();
  PACTORY_DEFAULT(regions, box_threshold, 0.6);
  PACTORY_DEFAULT(regions, unclip_ratio, 1.5);
  PACTORY_DEFAULT(regions, min_size, 3);
  PACTORY_DEFAULT_ENUM(regions, shape, v1::TextRegionConfig::QUAD);
  PACTORY_DEFAULT(regions, max_regions, 300);
  auto* boxes = evaluation->mutable_boxes();
  PACTORY_DEFAULT_ENUM(boxes, layout, v1::BoxConfig::CORNERS_SCORE_CLASS);
  PACTORY_DEFAULT(boxes, min_score, 0.01);
  PACTORY_DEFAULT(boxes, nms_iou, 0.45);
  PACTORY_DEFAULT(boxes, max_boxes, 100);
  PACTORY_DEFAULT(boxes, agreement_score, 0.3);
  PACTORY_DEFAULT_ENUM(config.mutable_export_(), profile, v1::ExportConfig::ORT_CPU);
  PACTORY_DEFAULT_ENUM(config.mutable_export_(), target, v1::ExportConfig::X86);
  PACTORY_DEFAULT_ENUM(config.mutable_export_(), activation_type, v1::ExportConfig::UINT8);
  PACTORY_DEFAULT(config.mutable_export_(), pack_int4, false);
  if (config.has_contract()) {
    auto* contract = config.mutable_contract();
    PACTORY_DEFAULT(contract, budget_seconds, 0);
    PACTORY_DEFAULT(contract, budget_steps, 0);
    PACTORY_DEFAULT(contract, float_layers, 2);
    if (contract->ladder().empty()) {
      for (int rung = v1::ContractConfig::PTQ; rung <= v1::ContractConfig::FLOAT_LAYERS; ++rung) {
        contract->add_ladder(static_cast<v1::ContractConfig::Rung>(rung));
      }
    }
  }
  auto* gates = config.mutable_gates();
  PACTORY_DEFAULT(gates, min_fp32_metric, 0);
  PACTORY_DEFAULT(gates, min_deployed_agreement, 0.98);
  PACTORY_DEFAULT(gates, max_metric_drop, 1);
}

absl::Status ValidateConfig(const QuantizationConfig& config) {
  PACTORY_RETURN_IF_ERROR(CheckExport(config));
  PACTORY_RETURN_IF_ERROR(CheckContract(config));
  PACTORY_RETURN_IF_ERROR(CheckWeights(config.weights()));
  PACTORY_RETURN_IF_ERROR(CheckRounding(config));
  PACTORY_RETURN_IF_ERROR(CheckActivations(config.activations()));
  PACTORY_RETURN_IF_ERROR(CheckRange("first_last_bits", config.first_last_bits(), 2, 8));
  PACTORY_RETURN_IF_ERROR(CheckRange("calibration.samples", config.calibration().samples(), 1, 1e7));
  if (!(config.calibration().percentile() > 0 && config.calibration().percentile() <= 100)) {
    return InvalidField("calibration.percentile",
                        absl::StrCat("must be above 0 and at most 100, not ", config.calibration().percentile()));
  }
  PACTORY_RETURN_IF_ERROR(CheckRange("calibration.search_samples", config.calibration().search_samples(), 1, 1e6));
  PACTORY_RETURN_IF_ERROR(CheckMixedPrecision(config));
  PACTORY_RETURN_IF_ERROR(CheckTraining(config.training()));
  PACTORY_RETURN_IF_ERROR(CheckBatchNorm(config));
  PACTORY_RETURN_IF_ERROR(CheckPreprocess(config.preprocess()));
  PACTORY_RETURN_IF_ERROR(CheckEvaluation(config.evaluation()));
  PACTORY_RETURN_IF_ERROR(CheckRange("gates.min_fp32_metric", config.gates().min_fp32_metric(), 0, 1));
  PACTORY_RETURN_IF_ERROR(CheckRange("gates.min_deployed_agreement", config.gates().min_deployed_agreement(), 0, 1));
  PACTORY_RETURN_IF_ERROR(CheckRange("gates.max_metric_drop", config.gates().max_metric_drop(), 0, 1));
  return CheckOverrides(config);
}

}  // namespace pactory

#include "config/config_rules.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "config/config_text.h"
#include "config/presets.h"

namespace pactory {
namespace {

v1::QuantizationConfig Complete(const std::string& yaml) {
  v1::QuantizationConfig config = ParseConfig(yaml).value();
  FillDefaults(config);
  return config;
}

TEST(ConfigRulesTest, EmptyConfigIsCompletedAndValid) {
  const v1::QuantizationConfig config = Complete("");
  EXPECT_TRUE(ValidateConfig(config).ok()) << ValidateConfig(config);
  EXPECT_EQ(config.weights().bits(), 8);
  EXPECT_EQ(config.activations().method(), v1::PACT_TWO_SIDED);
  EXPECT_EQ(config.training().checkpoint_every(), 15);
}

TEST(ConfigRulesTest, AContractTriesEveryRungUnlessItNamesSome) {
  EXPECT_FALSE(Complete("").has_contract());
  EXPECT_EQ(Complete("contract: {max_drop: 0.01}").contract().ladder_size(), 5);
  const v1::QuantizationConfig named = Complete("contract: {max_drop: 0.01, ladder: [PACT, FLOAT_LAYERS, FLOAT_LAYERS]}");
  EXPECT_TRUE(ValidateConfig(named).ok()) << ValidateConfig(named);
  EXPECT_EQ(named.contract().ladder_size(), 3);
}

TEST(ConfigRulesTest, GivenValuesSurviveTheDefaults) {
  const v1::QuantizationConfig config = Complete("training: {weight_decay: 0, enabled: false}");
  EXPECT_EQ(config.training().weight_decay(), 0);
  EXPECT_FALSE(config.training().enabled());
}

TEST(ConfigRulesTest, ActivationsOfALayerCanBeFloatWithEveryProfileAndMixedPrecisionHaveSeveralTargets) {
  for (const char* text : {"overrides: [{name: a, activation_bits: 32}]",
                           "{export: {profile: TENSORRT}, overrides: [{name: a, activation_bits: 32}]}",
                           "mixed_precision: {max_size_ratio: 0.3, min_agreement: 0.9, min_deployed_agreement: 0.99}"}) {
    EXPECT_TRUE(ValidateConfig(Complete(text)).ok()) << ValidateConfig(Complete(text));
  }
}

TEST(ConfigRulesTest, EachBrokenLimitNamesItsField) {
  const std::pair<const char*, const char*> cases[] = {
      {"weights: {bits: 9}", "weights.bits"},
      {"{export: {profile: TENSORRT}, activations: {bits: 4}}", "activations.bits"},
      {"{export: {profile: OPENVINO}, overrides: [{name: a, activation_bits: 4}]}", "overrides[0].activation_bits"},
      {"{export: {profile: TENSORRT}, activations: {method: PACT_AFFINE}}", "activations.method"},
      {"overrides: [{name: a, activation_bits: 16}]", "overrides[0].activation_bits"},
      {"mixed_precision: {sensitive_bits: 32}", "mixed_precision"},
      {"mixed_precision: {min_agreement: 1.5}", "mixed_precision.min_agreement"},
      {"mixed_precision: {min_deployed_agreement: 0}", "mixed_precision.min_deployed_agreement"},
      {"{weights: {bits: 4}, mixed_precision: {sensitive_bits: 8, min_agreement: 0.9, max_size_ratio: 0.3}}",
       "mixed_precision.sensitive_bits"},
      {"{weights: {bits: 4}, mixed_precision: {sensitive_bits: 8, min_deployed_agreement: 0.9}}", "mixed_precision.sensitive_bits"},
      {"export: {profile: OPENVINO, activation_type: INT8}", "export.activation_type"},
      {"contract: {budget_steps: 5}", "contract.max_drop"},
      {"contract: {max_drop: 2}", "contract.max_drop"},
      {"contract: {max_drop: 0.01, float_layers: 0}", "contract.float_layers"},
      {"contract: {max_drop: 0.01, ladder: [PTQ, RUNG_UNSPECIFIED]}", "contract.ladder[1]"},
      {"{contract: {max_drop: 0.01}, training: {plain_qat_baseline: true}}", "training.plain_qat_baseline"},
      {"weights: {bits: 1}", "weights.bits"},
      {"weights: {method: PACT}", "weights.method"},
      {"activations: {bits: 1}", "activations.bits"},
      {"weights: {method: LSQ_PLUS}", "weights.method"},
      {"weights: {learning_rate_multiplier: -1}", "weights.learning_rate_multiplier"},
      {"weights: {rounding: ADAROUND}", "weights.rounding"},
      {"weights: {rounding: ADAROUND, method: ABS_MAX}\ntraining: {enabled: false}", "weights.method"},
      {"weights: {adaround: {steps: 0}}", "weights.adaround.steps"},
      {"activations: {method: CHANNEL_ABS_MAX}", "activations.method"},
      {"activations: {method: CHANNEL_LSQ}", "activations.method"},
      {"activations: {moving_rate: 1}", "activations.moving_rate"},
      {"evaluation: {text_regions: {box_threshold: 2}}", "evaluation.text_regions.box_threshold"},
      {"evaluation: {text_regions: {unclip_ratio: -1}}", "evaluation.text_regions.unclip_ratio"},
      {"evaluation: {text_regions: {min_size: -1}}", "evaluation.text_regions.min_size"},
      {"evaluation: {text_regions: {max_regions: 0}}", "evaluation.text_regions.max_regions"},
      {"evaluation: {boxes: {min_score: 2}}", "evaluation.boxes.min_score"},
      {"evaluation: {boxes: {nms_iou: -1}}", "evaluation.boxes.nms_iou"},
      {"evaluation: {boxes: {max_boxes: 0}}", "evaluation.boxes.max_boxes"},
      {"evaluation: {boxes: {agreement_score: 2}}", "evaluation.boxes.agreement_score"},
      {"training: {steps: 0}", "training.steps"},
      {"training: {batch_size: 0}", "training.batch_size"},
      {"training: {learning_rate: 0}", "training.learning_rate"},
      {"training: {warmup_steps: 301}", "training.warmup_steps"},
      {"training: {task_loss_weight: 0, distillation_loss_weight: 0}", "training.task_loss_weight"},
      {"training: {distillation_targets: [{name: a}, {weight: 2}]}", "training.distillation_targets[1].name"},
      {"training: {distillation_targets: [{name: a, weight: -1}]}", "training.distillation_targets[0].weight"},
      {"training: {label_smoothing: 1}", "training.label_smoothing"},
      {"training: {schedule_every: 0}", "training.schedule_every"},
      {"training: {schedule_factor: 0}", "training.schedule_factor"},
      {"training: {ema_decay: 1}", "training.ema_decay"},
      {"training: {batch_norm_freeze_at: 1.1}", "training.batch_norm_freeze_at"},
      {"training: {batch_norm_reestimation_batches: -1}", "training.batch_norm_reestimation_batches"},
      {"{training: {batch_norm: TRAINED}, calibration: {bias_correction: true}}", "training.batch_norm"},
      {"{training: {batch_norm: TRAINED}, weights: {method: CHANNEL_MSE}}", "training.batch_norm"},
      {"training: {max_seconds: -1}", "training.max_seconds"},
      {"training: {steps: 10, last_step: 11}", "training.last_step"},
      {"training: {stop_at_metric_drop: 2, evaluate_every: 1}", "training.stop_at_metric_drop"},
      {"training: {stop_at_metric_drop: 0.01}", "training.stop_at_metric_drop"},
      {"training: {exploding_loss_factor: 0.5}", "training.exploding_loss_factor"},
      {"training: {record_every: 0}", "training.record_every"},
      {"training: {warn_clipped_share: 1.5}", "training.warn_clipped_share"},
      {"activations: {alpha: {momentum: 1}}", "activations.alpha.momentum"},
      {"activations: {alpha: {weight_decay: -1}}", "activations.alpha.weight_decay"},
      {"calibration: {percentile: 101}", "calibration.percentile"},
      {"preprocess: {std: [0]}", "preprocess.std"},
      {"preprocess: {augmentation: {horizontal_flip: 2}}", "preprocess.augmentation.horizontal_flip"},
      {"preprocess: {augmentation: {min_crop_area: 0}}", "preprocess.augmentation.min_crop_area"},
      {"preprocess: {augmentation: {zoom: 1}}", "preprocess.augmentation.zoom"},
      {"preprocess: {augmentation: {saturation: 2}}", "preprocess.augmentation.saturation"},
      {"preprocess: {augmentation: {hue: -0.1}}", "preprocess.augmentation.hue"},
      {"gates: {max_metric_drop: 2}", "gates.max_metric_drop"},
      {"overrides: [{skip: true}]", "overrides[0].name"},
      {"overrides: [{op_type: Conv, weight_bits: 16}]", "overrides[0].weight_bits"},
      {"overrides: [{name: a, weight_method: LSQ}, {name: b, weight_method: PACT}]", "overrides[1].weight_method"},
      {"overrides: [{name: a, weight_method: NONE}]", "overrides[0].weight_method"},
      {"{weights: {rounding: ADAROUND}, training: {enabled: false}, overrides: [{name: a, weight_method: ABS_MAX}]}",
       "overrides[0].weight_method"},
      {"{training: {batch_norm: TRAINED}, overrides: [{name: a, weight_method: CHANNEL_LSQ}]}", "overrides[0].weight_method"},
      {"overrides: [{name: a, weight_range: AUTO}]", "overrides[0].weight_range"},
      {"overrides: [{name: a, activation_method: CHANNEL_MSE}]", "overrides[0].activation_method"},
      {"overrides: [{name: a, activation_method: NONE}]", "overrides[0].activation_method"},
      {"{activations: {method: NONE}, overrides: [{name: a, activation_method: LSQ}]}", "overrides[0].activation_method"},
      {"{export: {profile: TENSORRT}, overrides: [{name: a, activation_method: LSQ_PLUS}]}", "overrides[0].activation_method"},
  };
  for (const auto& [yaml, field] : cases) {
    EXPECT_EQ(FieldOf(ValidateConfig(Complete(yaml))), field) << yaml;
  }
}

TEST(ConfigRulesTest, OverridesTakeEveryMethodOfTheirKind) {
  const auto config = Complete(
      "overrides: [{name: a, weight_method: CHANNEL_LSQ, activation_method: LSQ_PLUS}, {name: b, weight_method: ABS_MAX, weight_range: FULL}, "
      "{name: c, activation_method: PACT}]");
  EXPECT_TRUE(ValidateConfig(config).ok()) << ValidateConfig(config);
}

TEST(PresetsTest, EveryPresetIsValidAndDescribed) {
  EXPECT_FALSE(AllPresets().empty());
  for (const Preset& preset : AllPresets()) {
    v1::QuantizationConfig config = preset.config;
    FillDefaults(config);
    EXPECT_TRUE(ValidateConfig(config).ok()) << preset.name << ": " << ValidateConfig(config);
    EXPECT_GT(preset.description.size(), 20) << preset.name;
    EXPECT_FALSE(ParseConfig(preset.description).ok()) << preset.name << ": the first line must be a comment: " << preset.description;
  }
}

TEST(PresetsTest, UnknownNameListsTheKnownOnes) {
  const auto config = FindPreset("pact");
  EXPECT_EQ(config.status().code(), absl::StatusCode::kNotFound);
  EXPECT_NE(config.status().message().find("pact_int8"), absl::string_view::npos);
}

}  // namespace
}  // namespace pactory

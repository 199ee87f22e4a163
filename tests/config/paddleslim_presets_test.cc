// PaddleSlim's published recipes: what their files say must be what its sources say.
#include <gtest/gtest.h>

#include "config/config_rules.h"
#include "config/presets.h"

namespace pactory {
namespace {

v1::QuantizationConfig Recipe(const std::string& name) {
  const auto preset = FindPreset(name);
  EXPECT_TRUE(preset.ok()) << preset.status();
  v1::QuantizationConfig config = preset.value_or(v1::QuantizationConfig());
  FillDefaults(config);
  EXPECT_TRUE(ValidateConfig(config).ok()) << name << ": " << ValidateConfig(config);
  // All of them: PaddleSlim's form of PACT, 8 bits, a range for each channel of a weight.
  EXPECT_EQ(config.activations().method(), v1::PACT_TWO_SIDED);
  EXPECT_EQ(config.activations().bits(), 8);
  EXPECT_EQ(config.weights().method(), v1::CHANNEL_ABS_MAX);
  EXPECT_EQ(config.weights().bits(), 8);
  EXPECT_TRUE(config.training().enabled());
  return config;
}

double ShareBeforeFirstDrop(const v1::TrainingConfig& training) {
  EXPECT_EQ(training.schedule(), v1::TrainingConfig::STEP);
  EXPECT_EQ(training.schedule_factor(), 0.1);
  // One drop, as twice as many steps are beyond the end.
  EXPECT_GE(2 * training.schedule_every(), training.steps());
  return static_cast<double>(training.schedule_every()) / training.steps();
}

TEST(PaddleSlimPresetsTest, MobileNetV3) {
  // PaddleSlim, demo/quant/pact_quant_aware/train.py: its argparse defaults.
  const v1::QuantizationConfig config = Recipe("paddleslim_mobilenet_v3");
  const v1::TrainingConfig& training = config.training();
  EXPECT_EQ(training.optimizer(), v1::TrainingConfig::SGD);
  EXPECT_EQ(training.momentum(), 0.9);
  EXPECT_EQ(training.learning_rate(), 1e-3);
  EXPECT_EQ(training.weight_decay(), 1e-5);
  EXPECT_EQ(training.batch_size(), 128);
  EXPECT_DOUBLE_EQ(ShareBeforeFirstDrop(training), 20.0 / 30);
  EXPECT_EQ(training.task_loss(), v1::TrainingConfig::CROSS_ENTROPY);
  EXPECT_EQ(training.distillation_loss_weight(), 0);
  EXPECT_EQ(config.activations().alpha().l2(), 1e-4);
  EXPECT_EQ(config.calibration().threshold(), v1::CalibrationConfig::MAX);
}

TEST(PaddleSlimPresetsTest, TextDetection) {
  // PaddleOCR, configs/det/ch_ppocr_v2.0/ch_det_mv3_db_v2.0.yml with deploy/slim/quantization/quant.py.
  const v1::QuantizationConfig config = Recipe("paddleslim_ppocr_det");
  const v1::TrainingConfig& training = config.training();
  EXPECT_EQ(training.optimizer(), v1::TrainingConfig::ADAM);
  EXPECT_EQ(training.schedule(), v1::TrainingConfig::COSINE);
  EXPECT_EQ(training.learning_rate(), 1e-3);
  EXPECT_EQ(training.weight_decay(), 0);
  EXPECT_EQ(training.batch_size(), 8);
  EXPECT_DOUBLE_EQ(static_cast<double>(training.warmup_steps()) / training.steps(), 2.0 / 1200);
  EXPECT_EQ(training.task_loss(), v1::TrainingConfig::DICE);
  EXPECT_EQ(config.activations().alpha().learning_rate_multiplier(), 1);
  EXPECT_EQ(config.preprocess().channel_order(), v1::PreprocessConfig::BGR);
  EXPECT_EQ(config.evaluation().map_threshold(), 0.3);
  EXPECT_EQ(config.evaluation().text_regions().box_threshold(), 0.6);
  EXPECT_EQ(config.evaluation().text_regions().unclip_ratio(), 1.5);
  EXPECT_EQ(config.evaluation().text_regions().max_regions(), 1000);
}

TEST(PaddleSlimPresetsTest, TextRecognition) {
  // PaddleOCR, configs/rec/ch_ppocr_v2.0/rec_chinese_lite_train_v2.0.yml with deploy/slim/quantization/quant.py.
  const v1::QuantizationConfig config = Recipe("paddleslim_ppocr_rec");
  const v1::TrainingConfig& training = config.training();
  EXPECT_EQ(training.optimizer(), v1::TrainingConfig::ADAM);
  EXPECT_EQ(training.schedule(), v1::TrainingConfig::COSINE);
  EXPECT_EQ(training.learning_rate(), 1e-3);
  EXPECT_EQ(training.weight_decay(), 1e-5);
  EXPECT_EQ(training.batch_size(), 256);
  EXPECT_EQ(training.task_loss(), v1::TrainingConfig::CTC);
  EXPECT_EQ(config.activations().alpha().learning_rate_multiplier(), 1);
  EXPECT_EQ(config.activations().alpha().l2(), 2e-5);
  EXPECT_TRUE(config.preprocess().keep_ratio());
}

TEST(PaddleSlimPresetsTest, ObjectDetection) {
  // PaddleDetection, configs/slim/quant/yolov3_mobilenet_v3_qat.yml and ppyolo_r50vd_qat_pact.yml.
  const v1::TrainingConfig yolo = Recipe("paddleslim_yolov3_mobilenet_v3").training();
  const v1::TrainingConfig ppyolo = Recipe("paddleslim_ppyolo_r50vd").training();
  EXPECT_EQ(yolo.learning_rate(), 1e-4);
  EXPECT_EQ(ppyolo.learning_rate(), 5e-4);
  EXPECT_DOUBLE_EQ(ShareBeforeFirstDrop(yolo), 35.0 / 50);
  EXPECT_DOUBLE_EQ(ShareBeforeFirstDrop(ppyolo), 30.0 / 50);
  for (const v1::TrainingConfig& training : {yolo, ppyolo}) {
    EXPECT_EQ(training.optimizer(), v1::TrainingConfig::SGD);
    EXPECT_EQ(training.momentum(), 0.9);
    EXPECT_EQ(training.weight_decay(), 5e-4);
    EXPECT_EQ(training.warmup_steps(), 1000);
    EXPECT_EQ(training.task_loss_weight(), 0);
    EXPECT_EQ(training.distillation_loss_weight(), 1);
  }
}

}  // namespace
}  // namespace pactory

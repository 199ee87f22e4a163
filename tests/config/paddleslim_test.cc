#include "config/paddleslim.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace pactory {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

ConvertedConfig Converted(const std::string& text) {
  auto converted = ConvertPaddleSlim(text);
  EXPECT_TRUE(converted.ok()) << converted.status() << "\n" << text;
  return converted.ok() ? *std::move(converted) : ConvertedConfig();
}

// PaddleDetection's configs/slim/quant, its text as it stands there.
TEST(PaddleSlimTest, ADetectionFileGivesItsQuantSection) {
  const ConvertedConfig converted = Converted(R"(
weights: https://example.com/model.pdparams
slim: QAT

QAT:
  quant_config: {
    'activation_preprocess_type': 'PACT',
    'weight_quantize_type': 'channel_wise_abs_max', 'activation_quantize_type': 'moving_average_abs_max',
    'weight_bits': 8, 'activation_bits': 8, 'dtype': 'int8', 'window_size': 10000, 'moving_rate': 0.9,
    'quantizable_layer_type': ['Conv2D', 'Linear']}
  print_model: True
epoch: 50
)");
  EXPECT_EQ(converted.config.weights().method(), v1::CHANNEL_ABS_MAX);
  EXPECT_EQ(converted.config.weights().bits(), 8);
  EXPECT_EQ(converted.config.activations().method(), v1::PACT_TWO_SIDED);
  EXPECT_EQ(converted.config.activations().window(), 10000);
  EXPECT_EQ(converted.config.activations().moving_rate(), 0.9);
  // Only ConvTranspose is missing in the list of layers.
  ASSERT_EQ(converted.config.overrides_size(), 1);
  EXPECT_EQ(converted.config.overrides(0).op_type(), "ConvTranspose");
  EXPECT_TRUE(converted.config.overrides(0).skip());
  for (const char* key : {"weights:", "epoch:", "print_model:", "PACT:"}) EXPECT_THAT(converted.notes, Contains(StartsWith(key)));
  EXPECT_THAT(converted.notes, testing::SizeIs(4));
}

// The defaults of PaddleSlim's static quant_aware, as Python has them.
TEST(PaddleSlimTest, APythonDictOfTheStaticDefaults) {
  const ConvertedConfig converted = Converted(R"(_quant_config_default = {
    # weight quantize type
    'weight_quantize_type': 'channel_wise_abs_max',
    'activation_quantize_type': 'moving_average_abs_max',
    'weight_bits': 8,
    'activation_bits': 8,
    'not_quant_pattern': ['skip_quant'],
    'quantize_op_types': ['conv2d', 'depthwise_conv2d', 'mul'],
    'dtype': 'int8',
    'window_size': 10000,
    'moving_rate': 0.9,
    'for_tensorrt': False,
    'is_full_quantize': False,
    'onnx_format': True,
    'quant_post_first': False,
    'scale_trainable': True,
    'deploy_backend': None,
})");
  EXPECT_EQ(converted.config.activations().method(), v1::MOVING_AVERAGE_ABS_MAX);
  EXPECT_EQ(converted.config.calibration().threshold(), v1::CalibrationConfig::MAX);
  ASSERT_EQ(converted.config.overrides_size(), 2);
  EXPECT_EQ(converted.config.overrides(0).name(), "*skip_quant*");
  EXPECT_FALSE(converted.config.has_export_());
  EXPECT_THAT(converted.notes, Contains(StartsWith("not_quant_pattern:")));
  EXPECT_THAT(converted.notes, Contains(StartsWith("quant_post_first:")));
  EXPECT_THAT(converted.notes, testing::SizeIs(2));
}

TEST(PaddleSlimTest, OtherMethodsBackendsAndJson) {
  const ConvertedConfig lsq = Converted(
      R"({"weight_quantize_type": "channel_wise_lsq_weight", "activation_quantize_type": "lsq_act", "weight_bits": 4, "for_tensorrt": true})");
  EXPECT_EQ(lsq.config.weights().method(), v1::CHANNEL_LSQ);
  EXPECT_EQ(lsq.config.weights().bits(), 4);
  EXPECT_EQ(lsq.config.activations().method(), v1::LSQ);
  EXPECT_EQ(lsq.config.export_().target(), v1::ExportConfig::GPU);
  EXPECT_EQ(lsq.config.export_().profile(), v1::ExportConfig::TENSORRT);
  EXPECT_EQ(Converted("deploy_backend: TensorRT").config.export_().profile(), v1::ExportConfig::TENSORRT);
  EXPECT_THAT(lsq.notes, IsEmpty());
  const ConvertedConfig range = Converted("QuantAware: {use_pact: false, activation_quantize_type: range_abs_max, deploy_backend: ARM}");
  EXPECT_EQ(range.config.activations().method(), v1::RANGE_ABS_MAX);
  EXPECT_EQ(range.config.export_().target(), v1::ExportConfig::ARM);
}

// What quant_post_static takes, in the form of a file of PaddleSlim's automatic compression.
TEST(PaddleSlimTest, PostTrainingKeysTurnTrainingOff) {
  const ConvertedConfig hist = Converted(R"(
QuantPost:
  weight_quantize_type: channel_wise_abs_max
  activation_quantize_type: moving_average_abs_max
  algo: hist
  hist_percent: 0.9999
  batch_nums: 10
  batch_size: 32
  bias_correction: True
)");
  EXPECT_FALSE(hist.config.training().enabled());
  EXPECT_EQ(hist.config.activations().method(), v1::ABS_MAX);
  EXPECT_EQ(hist.config.weights().method(), v1::CHANNEL_ABS_MAX);
  EXPECT_EQ(hist.config.calibration().threshold(), v1::CalibrationConfig::PERCENTILE);
  EXPECT_DOUBLE_EQ(hist.config.calibration().percentile(), 99.99);
  EXPECT_EQ(hist.config.calibration().samples(), 320);
  EXPECT_TRUE(hist.config.calibration().bias_correction());
  EXPECT_THAT(hist.notes, Contains(StartsWith("training:")));
  EXPECT_EQ(Converted("{algo: KL, activation_quantize_type: range_abs_max}").config.calibration().threshold(), v1::CalibrationConfig::ENTROPY);
  EXPECT_EQ(Converted("algo: abs_max").config.calibration().threshold(), v1::CalibrationConfig::MAX);
  const ConvertedConfig learned = Converted("{round_type: adaround, weight_quantize_type: channel_wise_abs_max, algo: mse}");
  EXPECT_EQ(learned.config.weights().rounding(), v1::WeightConfig::ADAROUND);
  EXPECT_EQ(learned.config.weights().method(), v1::QUANTIZER_METHOD_UNSPECIFIED);
  EXPECT_EQ(learned.config.calibration().threshold(), v1::CalibrationConfig::MSE);
}

TEST(PaddleSlimTest, WhatHasNoCounterpartIsSaid) {
  for (const char* text : {"weight_preprocess_type: PACT", "algo: avg", "is_full_quantize: True", "onnx_format: False", "num_epoch: 30",
                           "weight_quantize_type: moving_average_abs_max", "activation_quantize_type: abs_max",
                           "quantize_op_types: [conv2d, mul]", "quantize_op_types: [conv2d, depthwise_conv2d, mul, pool2d]"}) {
    const std::string key = std::string(text).substr(0, std::string(text).find(':') + 1);
    EXPECT_THAT(Converted(text).notes, Contains(StartsWith(key))) << text;
  }
}

TEST(PaddleSlimTest, UnknownKeysAndValuesAreNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {"weight_bitz: 8", "weight_bitz"},
      {"weight_bits: 16", "weight_bits"},
      {"weight_bits: many", "weight_bits"},
      {"weight_bits: nan", "weight_bits"},
      {"window_size: 1e300", "window_size"},
      {"dtype: uint8", "dtype"},
      {"weight_quantize_type: kl", "weight_quantize_type"},
      {"activation_quantize_type: channel_wise_abs_max", "activation_quantize_type"},
      {"activation_preprocess_type: DOREFA", "activation_preprocess_type"},
      {"quantize_op_types: [conv2d, conv7d]", "quantize_op_types"},
      {"onnx_format: maybe", "onnx_format"},
      {"algo: ptf", "algo"},
      {"round_type: brecq", "round_type"},
      {"hist_percent: 99.99", "hist_percent"},
      {"batch_nums: 0", "batch_nums"},
      {"moving_rate: 1.5", "activations.moving_rate"},
      {"QAT: {quant_config: {bits: 8}}", "bits"},
  };
  for (const auto& [text, field] : cases) {
    const auto converted = ConvertPaddleSlim(text);
    EXPECT_EQ(FieldOf(converted.status()), field) << text << ": " << converted.status();
  }
  EXPECT_THAT(std::string(ConvertPaddleSlim("quantize_op_types: [conv7d]").status().message()), HasSubstr("conv7d"));
  for (const char* text : {"", "- a", "{", "weight_bits"}) EXPECT_FALSE(ConvertPaddleSlim(text).ok()) << text;
}

}  // namespace
}  // namespace pactory

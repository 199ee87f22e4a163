#include "config/config_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace pactory {
namespace {

using ::testing::HasSubstr;

TEST(ParseConfigTest, YamlAndJsonGiveTheSameConfig) {
  const auto yaml = ParseConfig("weights: {bits: 4, range: REDUCED}\npreprocess:\n  mean: [0.5, .5]\ntraining: {learning_rate: 1e-4}\n");
  const auto json = ParseConfig(
      R"({"weights":{"bits":4,"range":"REDUCED"},"preprocess":{"mean":[0.5,0.5]},"training":{"learningRate":0.0001}})");
  ASSERT_TRUE(yaml.ok()) << yaml.status();
  ASSERT_TRUE(json.ok()) << json.status();
  EXPECT_EQ(yaml->SerializeAsString(), json->SerializeAsString());
  EXPECT_EQ(yaml->weights().bits(), 4);
}

TEST(ParseConfigTest, UnknownFieldIsNamedWithItsPathAndTheKnownOnes) {
  const auto config = ParseConfig("training:\n  stepz: 100\n");
  EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FieldOf(config.status()), "training.stepz");
  EXPECT_THAT(std::string(config.status().message()), HasSubstr("steps"));
}

TEST(ParseConfigTest, WrongTypesAndEnumValuesAreNamed) {
  EXPECT_EQ(FieldOf(ParseConfig("training: {steps: many}").status()), "training.steps");
  EXPECT_EQ(FieldOf(ParseConfig("training: {steps: 1.5}").status()), "training.steps");
  EXPECT_EQ(FieldOf(ParseConfig("training: {steps: 99999999999}").status()), "training.steps");
  EXPECT_EQ(FieldOf(ParseConfig("training: {enabled: 3}").status()), "training.enabled");
  EXPECT_EQ(FieldOf(ParseConfig("training: [1]").status()), "training");
  const auto method = ParseConfig("activations: {method: PACKT}").status();
  EXPECT_EQ(FieldOf(method), "activations.method");
  EXPECT_THAT(std::string(method.message()), HasSubstr("PACT_TWO_SIDED"));
}

TEST(ParseConfigTest, BrokenTextIsRefused) {
  EXPECT_FALSE(ParseConfig("{a: [").ok());
  EXPECT_FALSE(ParseConfig("just text").ok());
  EXPECT_TRUE(ParseConfig("").ok());
}

TEST(SetConfigFieldTest, SetsOneFieldAndKeepsTheRest) {
  v1::QuantizationConfig config = ParseConfig("training: {steps: 5, batch_size: 7}\npreprocess: {mean: [1, 2]}").value();
  ASSERT_TRUE(SetConfigField(config, "training.steps=9").ok());
  ASSERT_TRUE(SetConfigField(config, "preprocess.mean=[3]").ok());
  EXPECT_EQ(config.training().steps(), 9);
  EXPECT_EQ(config.training().batch_size(), 7);
  ASSERT_EQ(config.preprocess().mean_size(), 1);
  EXPECT_EQ(config.preprocess().mean(0), 3);
}

TEST(SetConfigFieldTest, BadPathsAndValuesAreNamed) {
  v1::QuantizationConfig config;
  EXPECT_EQ(FieldOf(SetConfigField(config, "training.stepz=9")), "training.stepz");
  EXPECT_FALSE(SetConfigField(config, "training.steps").ok());
  EXPECT_FALSE(SetConfigField(config, "=9").ok());
}

TEST(ConfigToYamlTest, ReadsBackAsTheSameConfig) {
  const v1::QuantizationConfig config =
      ParseConfig("weights: {bits: 4}\nactivations: {method: PACT}\ntraining: {seed: 123456789012}\noverrides: [{name: 'a*', skip: true}]").value();
  const auto again = ParseConfig(ConfigToYaml(config));
  ASSERT_TRUE(again.ok()) << again.status() << ConfigToYaml(config);
  EXPECT_EQ(again->SerializeAsString(), config.SerializeAsString());
}

}  // namespace
}  // namespace pactory

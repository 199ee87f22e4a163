#include "quant/report/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "config/config_rules.h"
#include "config/config_text.h"

namespace pactory::quant {
namespace {

using testing::HasSubstr;

Manifest Complete() {
  Manifest manifest{.job = "jobs/1",
                    .model_sha256 = "aa",
                    .train_data_sha256 = "bb",
                    .eval_data_sha256 = "cc",
                    .output_sha256 = "dd",
                    .report_sha256 = "ee",
                    .runtime = "onnxruntime 1"};
  manifest.environment.threads = 3;
  manifest.environment.device_class = "CPU AVX2";
  FillDefaults(manifest.config);
  // Not exact in decimal: a config that came back rounded would train another model.
  manifest.config.mutable_training()->set_learning_rate(1.0 / 3);
  manifest.config.mutable_training()->set_seed(77);
  return manifest;
}

TEST(ManifestTest, WhatIsWrittenIsRead) {
  const Manifest written = Complete();
  const auto read = ParseManifest(ManifestToJson(written));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->job, "jobs/1");
  EXPECT_EQ(read->model_sha256, "aa");
  EXPECT_EQ(read->train_data_sha256, "bb");
  EXPECT_EQ(read->eval_data_sha256, "cc");
  EXPECT_EQ(read->output_sha256, "dd");
  EXPECT_EQ(read->report_sha256, "ee");
  EXPECT_EQ(read->runtime, "onnxruntime 1");
  EXPECT_EQ(read->environment.threads, 3);
  EXPECT_EQ(read->environment.device_class, "CPU AVX2");
  EXPECT_EQ(read->config.training().learning_rate(), 1.0 / 3);
  EXPECT_EQ(ConfigToJson(read->config), ConfigToJson(written.config));
}

TEST(ManifestTest, EveryMissingFieldIsNamed) {
  const auto whole = nlohmann::json::parse(ManifestToJson(Complete()));
  for (const auto& [object, key] : std::vector<std::pair<std::string, std::string>>{{"inputs", "model_sha256"},
                                                                                   {"outputs", "model.int8.onnx"},
                                                                                   {"environment", "threads"},
                                                                                   {"environment", "device_class"},
                                                                                   {"versions", "libtorch"}}) {
    auto json = whole;
    json[object].erase(key);
    const auto read = ParseManifest(json.dump());
    ASSERT_FALSE(read.ok()) << key;
    EXPECT_THAT(std::string(read.status().message()), HasSubstr(object + "." + key));
  }
  EXPECT_FALSE(ParseManifest("").ok());
  EXPECT_FALSE(ParseManifest("[1]").ok());
  EXPECT_FALSE(ParseManifest("{\"schema\": 2}").ok());
  auto json = whole;
  json["config"] = {{"no_such_field", 1}};
  EXPECT_THAT(std::string(ParseManifest(json.dump()).status().message()), HasSubstr("no_such_field"));
}

}  // namespace
}  // namespace pactory::quant

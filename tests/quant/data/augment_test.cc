#include "quant/data/augment.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "config/config_rules.h"
#include "config/config_text.h"
#include "npz/preprocess_inputs.h"

namespace pactory::quant {
namespace {

v1::PreprocessConfig Config(const std::string& augmentation) {
  auto config = ParseConfig("preprocess: {mean: [0.5, 0.4], std: [0.25, 0.2], augmentation: {" + augmentation + "}}");
  EXPECT_TRUE(config.ok()) << config.status();
  FillDefaults(*config);
  return config->preprocess();
}

std::vector<int64_t> FirstIndices(int64_t count) {
  std::vector<int64_t> indices(static_cast<size_t>(count));
  std::iota(indices.begin(), indices.end(), 0);
  return indices;
}

at::Tensor Changed(const std::string& augmentation, const at::Tensor& x, int64_t seed = 1, int64_t step = 0) {
  return Augment(Config(augmentation), x, FirstIndices(x.size(0)), seed, step);
}

// Samples of a batch that equal those of another.
int64_t EqualSamples(const at::Tensor& a, const at::Tensor& b) {
  return a.eq(b).reshape({a.size(0), -1}).all(1).sum().item<int64_t>();
}

constexpr char kEverything[] =
    "horizontal_flip: 0.5, vertical_flip: 0.5, crop_padding: 2, min_crop_area: 0.5, zoom: 0.2, brightness: 0.2, contrast: 0.2";

TEST(AugmentTest, DefaultsChangeNothing) {
  EXPECT_FALSE(Augments(Config("").augmentation()));
  EXPECT_TRUE(Augments(Config("zoom: 0.1").augmentation()));
  EXPECT_TRUE(Augments(Config("min_crop_area: 0.9").augmentation()));
}

TEST(AugmentTest, SameSeedStepAndSampleGiveTheSameImageInAnyBatch) {
  const at::Tensor x = at::randn({16, 2, 9, 11});
  const at::Tensor once = Changed(kEverything, x, 7, 3);
  EXPECT_TRUE(at::equal(once, Changed(kEverything, x, 7, 3)));
  EXPECT_EQ(EqualSamples(once, Changed(kEverything, x, 8, 3)), 0);
  EXPECT_EQ(EqualSamples(once, Changed(kEverything, x, 7, 4)), 0);
  const at::Tensor alone = Augment(Config(kEverything), x.narrow(0, 5, 1), {int64_t{5}}, 7, 3);
  EXPECT_TRUE(at::equal(alone[0], once[5]));
}

TEST(AugmentTest, FlipsMirrorAboutHalfOfTheImages) {
  const at::Tensor x = at::randn({400, 1, 3, 4});
  EXPECT_TRUE(at::equal(Changed("horizontal_flip: 1", x), x.flip(3)));
  EXPECT_TRUE(at::equal(Changed("vertical_flip: 1", x), x.flip(2)));
  const at::Tensor half = Changed("horizontal_flip: 0.5", x);
  const int64_t flipped = EqualSamples(half, x.flip(3));
  EXPECT_EQ(flipped + EqualSamples(half, x), 400);
  EXPECT_GT(flipped, 150);
  EXPECT_LT(flipped, 250);
}

TEST(AugmentTest, PadAndCropGivesEveryShiftAndNothingElse) {
  const at::Tensor x = at::arange(1, 13, at::kFloat).reshape({1, 1, 3, 4}).expand({300, 1, 3, 4}).contiguous();
  const at::Tensor result = Changed("crop_padding: 1", x);
  const at::Tensor padded = at::constant_pad_nd(x[0][0], {1, 1, 1, 1});
  int64_t total = 0;
  for (int64_t top = 0; top < 3; ++top) {
    for (int64_t left = 0; left < 3; ++left) {
      const at::Tensor shifted = padded.narrow(0, top, 3).narrow(1, left, 4);
      const int64_t count = EqualSamples(result, shifted.expand_as(x));
      EXPECT_GT(count, 10) << top << "," << left;
      total += count;
    }
  }
  EXPECT_EQ(total, 300);
}

// A ramp stays a ramp under bilinear resizing: its slope says which part was cut out.
TEST(AugmentTest, ResizedCropsHaveTheAreasAndAspectsAskedFor) {
  const int64_t side = 96;
  const at::Tensor ramp = at::arange(side, at::kFloat);
  const at::Tensor x = at::stack({ramp.expand({side, side}), ramp.unsqueeze(1).expand({side, side})}).unsqueeze(0).repeat({100, 1, 1, 1});
  const at::Tensor result = Changed("min_crop_area: 0.3", x).to(at::kDouble);
  double least = 1, largest = 0;
  for (int64_t i = 0; i < 100; ++i) {
    const double width = result[i][0][48][60].item<double>() - result[i][0][48][36].item<double>();
    const double height = result[i][1][60][48].item<double>() - result[i][1][36][48].item<double>();
    const double area = width * height / (24 * 24);
    EXPECT_GT(area, 0.28);
    EXPECT_LT(area, 1.02);
    EXPECT_GT(width / height, 0.70);
    EXPECT_LT(width / height, 1.42);
    least = std::min(least, area);
    largest = std::max(largest, area);
  }
  EXPECT_LT(least, 0.4);
  EXPECT_GT(largest, 0.9);
}

TEST(AugmentTest, ZoomKeepsTheCentreAndScalesDistances) {
  const int64_t side = 101;
  const at::Tensor x = (at::arange(side, at::kFloat) - 50).expand({60, 2, side, side}).contiguous();
  const at::Tensor result = Changed("zoom: 0.5", x).to(at::kDouble);
  double least = 9, largest = 0;
  for (int64_t i = 0; i < 60; ++i) {
    EXPECT_NEAR(result[i][0][50][50].item<double>(), 0, 1.1);
    const double factor = 20 / (result[i][0][50][60].item<double>() - result[i][0][50][40].item<double>());
    least = std::min(least, factor);
    largest = std::max(largest, factor);
  }
  EXPECT_GT(least, 0.48);
  EXPECT_LT(least, 0.7);
  EXPECT_GT(largest, 1.3);
  EXPECT_LT(largest, 1.52);
  // What moves in is 0.
  EXPECT_GT(result.eq(0).sum().item<int64_t>(), 1000);
}

TEST(AugmentTest, BrightnessMultipliesPixelsBeforeNormalization) {
  const at::Tensor mean = at::tensor({0.5f, 0.4f}).reshape({1, 2, 1, 1}), deviation = at::tensor({0.25f, 0.2f}).reshape({1, 2, 1, 1});
  const at::Tensor pixels = at::rand({50, 2, 4, 4}) + 0.1;
  const at::Tensor result = Changed("brightness: 0.4", (pixels - mean) / deviation) * deviation + mean;
  const at::Tensor ratio = (result / pixels).reshape({50, -1});
  EXPECT_LT((ratio.amax(1) - ratio.amin(1)).max().item<float>(), 1e-4);
  EXPECT_GT(ratio.min().item<float>(), 0.6 - 1e-4);
  EXPECT_LT(ratio.max().item<float>(), 1.4 + 1e-4);
  EXPECT_GT((ratio.max() - ratio.min()).item<float>(), 0.5);
}

TEST(AugmentTest, ContrastScalesAboutTheImagesMean) {
  const at::Tensor mean = at::tensor({0.5f, 0.4f}).reshape({1, 2, 1, 1}), deviation = at::tensor({0.25f, 0.2f}).reshape({1, 2, 1, 1});
  const at::Tensor pixels = at::rand({50, 2, 4, 4});
  const at::Tensor result = Changed("contrast: 0.5", (pixels - mean) / deviation) * deviation + mean;
  const at::Tensor before = pixels.reshape({50, -1}), after = result.reshape({50, -1});
  EXPECT_TRUE(at::allclose(before.mean(1), after.mean(1), 1e-4, 1e-5));
  const at::Tensor factor = after.std(1) / before.std(1);
  EXPECT_GT(factor.min().item<float>(), 0.5 - 1e-3);
  EXPECT_LT(factor.max().item<float>(), 1.5 + 1e-3);
  EXPECT_GT((factor.max() - factor.min()).item<float>(), 0.6);
}

at::Tensor LumaOf(const at::Tensor& pixels, const std::vector<float>& weights) {
  return (pixels * at::tensor(weights).reshape({1, 3, 1, 1})).sum(1);
}

TEST(AugmentTest, SaturationScalesAboutTheGrayOfEachPixelsLuma) {
  const at::Tensor pixels = at::rand({50, 3, 4, 4});
  for (const bool bgr : {false, true}) {
    const std::vector<float> weights = bgr ? std::vector<float>{0.114f, 0.587f, 0.299f} : std::vector<float>{0.299f, 0.587f, 0.114f};
    v1::PreprocessConfig config = Config("saturation: 0.5");
    config.clear_mean();
    config.clear_std();
    if (bgr) config.set_channel_order(v1::PreprocessConfig::BGR);
    const at::Tensor gray = LumaOf(pixels, weights).unsqueeze(1);
    const at::Tensor result = Augment(config, pixels, FirstIndices(50), 1, 0);
    const at::Tensor before = (pixels - gray).reshape({50, -1}), after = (result - gray).reshape({50, -1});
    const at::Tensor factor = (after * before).sum(1) / before.square().sum(1);
    EXPECT_LT((after - factor.unsqueeze(1) * before).abs().max().item<float>(), 1e-5);
    EXPECT_GT(factor.min().item<float>(), 0.5 - 1e-4);
    EXPECT_LT(factor.max().item<float>(), 1.5 + 1e-4);
    EXPECT_GT((factor.max() - factor.min()).item<float>(), 0.6);
  }
}

TEST(AugmentTest, HueTurnsColorsAboutTheAxisOfGrays) {
  v1::PreprocessConfig config = Config("hue: 0.5");
  config.clear_mean();
  config.clear_std();
  const at::Tensor grays = at::rand({50, 1, 4, 4}).expand({50, 3, 4, 4}).contiguous();
  EXPECT_TRUE(at::allclose(Augment(config, grays, FirstIndices(50), 1, 0), grays, 1e-5, 1e-6));
  const at::Tensor pixels = at::rand({50, 3, 4, 4});
  const at::Tensor result = Augment(config, pixels, FirstIndices(50), 1, 0);
  const std::vector<float> luma = {0.299f, 0.587f, 0.114f};
  EXPECT_TRUE(at::allclose(LumaOf(result, luma), LumaOf(pixels, luma), 1e-4, 1e-5));
  // I and Q as the complex number whose angle is the hue: one factor of size 1 for all pixels of an image.
  const auto chroma = [](const at::Tensor& x) {
    const at::Tensor i = 0.596 * x.select(1, 0) - 0.274 * x.select(1, 1) - 0.322 * x.select(1, 2);
    const at::Tensor q = 0.211 * x.select(1, 0) - 0.523 * x.select(1, 1) + 0.312 * x.select(1, 2);
    return at::complex(i, q).reshape({50, -1});
  };
  const at::Tensor before = chroma(pixels), after = chroma(result);
  const at::Tensor turn = (after * before.conj()).sum(1) / (before * before.conj()).sum(1);
  EXPECT_LT(at::abs(after - turn.unsqueeze(1) * before).max().item<float>(), 1e-5);
  EXPECT_LT((at::abs(turn) - 1).abs().max().item<float>(), 1e-4);
  // Half of a half circle either way.
  EXPECT_LT(at::angle(turn).max().item<float>(), 1.5709);
  EXPECT_GT(at::angle(turn).max().item<float>(), 1.2);
  EXPECT_LT(at::angle(turn).min().item<float>(), -1.2);
  EXPECT_GT(at::angle(turn).min().item<float>(), -1.5709);
}

TEST(AugmentTest, OnlyImagesAreAugmented) {
  Graph graph;
  graph.inputs = {{.name = "rows", .dims = {-1, 6}}, {.name = "left", .dims = {-1, 3, -1, -1}}, {.name = "right", .dims = {-1, 3, 8, 8}}};
  const auto augmented = [&](const std::string& augmentation, const std::set<std::string>& preprocessed) {
    return AugmentedInputs(Config(augmentation), graph, preprocessed);
  };
  EXPECT_EQ(FieldOf(augmented("zoom: 0.1", {"rows"}).status()), "preprocess.augmentation");
  EXPECT_EQ(FieldOf(augmented("zoom: 0.1", {}).status()), "preprocess.augmentation");
  EXPECT_THAT(*augmented("zoom: 0.1", {"rows", "right"}), testing::ElementsAre(2));
  EXPECT_THAT(*augmented("zoom: 0.1", {"left", "right"}), testing::ElementsAre(1, 2));
  EXPECT_THAT(*augmented("", {"rows"}), testing::IsEmpty());
  EXPECT_THAT(*augmented("saturation: 0.1", {"left", "right"}), testing::ElementsAre(1, 2));
  graph.inputs.push_back({.name = "gray", .dims = {-1, 1, 8, 8}});
  EXPECT_EQ(FieldOf(augmented("saturation: 0.1", {"gray", "right"}).status()), "preprocess.augmentation.saturation");
  EXPECT_EQ(FieldOf(augmented("hue: 0.1", {"gray", "right"}).status()), "preprocess.augmentation.hue");
  EXPECT_THAT(*augmented("contrast: 0.1", {"gray", "right"}), testing::ElementsAre(2, 3));
}

}  // namespace
}  // namespace pactory::quant

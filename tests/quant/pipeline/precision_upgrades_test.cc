#include "quant/pipeline/precision_upgrades.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace pactory::quant {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

v1::MixedPrecisionConfig Target(int bits = 32) {
  v1::MixedPrecisionConfig target;
  target.set_sensitive_bits(bits);
  return target;
}

std::vector<std::string> NamesOf(const std::vector<Upgrade>& upgrades) {
  static const char* const kPrecisions[] = {"bits", "activations", "float"};
  std::vector<std::string> names;
  for (const Upgrade& upgrade : upgrades) {
    names.push_back(absl::StrCat(upgrade.layer.node, " ", kPrecisions[static_cast<int>(upgrade.precision)]));
  }
  return names;
}

// Of the first the activations cost most, of the second the weights; the third is computed in float.
std::vector<LayerSensitivity> Layers() {
  return {{.node = "a", .params = 1000, .error = 5, .weight_error = 1},
          {.node = "b", .params = 10, .error = 3, .weight_error = 2},
          {.node = "c", .params = 100, .error = 0.5, .weight_error = 0.5}};
}

TEST(PrecisionUpgradesTest, ByErrorActivationsAndWeightsAreTwoChoicesWhereTheActivationsCostMore) {
  // a: 4 by its activations, then 1; b: 3 at once; c comes last and stays, as else nothing would be quantized.
  EXPECT_THAT(NamesOf(UpgradesByError(Layers(), Target())), ElementsAre("a activations", "b float", "a float"));
  EXPECT_THAT(NamesOf(UpgradesByError(Layers(), Target(8))), ElementsAre("a bits", "b bits", "c bits"));
}

TEST(PrecisionUpgradesTest, ByByteEachByteSavesAsMuchErrorAsItCan) {
  // By weight: b 0.3, a 0.005, c 0.005 (behind a, which was first).
  EXPECT_THAT(NamesOf(UpgradesByByte(Layers(), Target(), false)), ElementsAre("b float", "a float"));
  // Of the weights alone: b 0.2, c 0.005, a 0.001.
  EXPECT_THAT(NamesOf(UpgradesByByte(Layers(), Target(), true)), ElementsAre("b float", "c float"));
  EXPECT_THAT(NamesOf(UpgradesByByte(Layers(), Target(4), false)), ElementsAre("b bits", "a bits", "c bits"));
}

TEST(PrecisionUpgradesTest, FloatActivationsAreForLayersWithQuantizedOnesThatNothingWasChosenFor) {
  QuantizationPlan plan;
  plan.layers = {{.node = "a", .input_quantizer = "x"}, {.node = "b", .input_quantizer = "y"}, {.node = "c"}};
  EXPECT_THAT(NamesOf(FloatActivations(Layers(), plan, {})), ElementsAre("a activations", "b activations"));
  EXPECT_THAT(NamesOf(FloatActivations(Layers(), plan, {{.layer = Layers()[0]}})), ElementsAre("b activations"));
  EXPECT_THAT(UpgradesByError({}, Target()), IsEmpty());
}

TEST(PrecisionUpgradesTest, EachLayerHasOneOverrideWithItsLastUpgrade) {
  v1::QuantizationConfig config;
  *config.mutable_mixed_precision() = Target();
  config = WithUpgrades(config, UpgradesByError(Layers(), Target()));
  ASSERT_EQ(config.overrides_size(), 2);
  EXPECT_EQ(config.overrides(0).name(), "b");
  EXPECT_EQ(config.overrides(1).name(), "a");
  EXPECT_TRUE(config.overrides(1).skip());
  EXPECT_FALSE(config.overrides(1).has_activation_bits());
  config.clear_overrides();
  const std::vector<Upgrade> first = {UpgradesByError(Layers(), Target())[0]};
  config = WithUpgrades(config, first);
  EXPECT_EQ(config.overrides(0).activation_bits(), 32);
  EXPECT_FALSE(config.overrides(0).skip());
  config.clear_overrides();
  config.mutable_activations()->set_bits(8);
  *config.mutable_mixed_precision() = Target(6);
  config = WithUpgrades(config, UpgradesByByte(Layers(), Target(6), false));
  EXPECT_EQ(config.overrides(0).weight_bits(), 6);
  EXPECT_EQ(config.overrides(0).activation_bits(), 8);
}

}  // namespace
}  // namespace pactory::quant

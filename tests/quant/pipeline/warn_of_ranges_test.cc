#include "quant/pipeline/warn_of_ranges.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/config_rules.h"

namespace pactory::quant {
namespace {

using testing::HasSubstr;
using testing::Not;

QuantizerReport Activation(std::string name, double alpha, double start, double clipped) {
  QuantizerReport report;
  report.name = std::move(name);
  report.alpha = alpha;
  report.alpha_initial = start;
  report.clipped_share = clipped;
  return report;
}

v1::QuantizationConfig CompleteConfig() {
  v1::QuantizationConfig config;
  FillDefaults(config);
  return config;
}

TEST(WarnOfRangesTest, UnmovedRangesAndHeavyClippingAreNamed) {
  const auto warnings = WarnOfRanges({Activation("still", 1.5, 1.5, 0.01), Activation("moved", 1.4, 1.5, 0.25)}, CompleteConfig());
  ASSERT_EQ(warnings.size(), 2u);
  EXPECT_THAT(warnings[0], HasSubstr("still"));
  EXPECT_THAT(warnings[0], Not(HasSubstr("moved,")));
  EXPECT_THAT(warnings[1], HasSubstr("moved (25.0 %)"));
  EXPECT_THAT(warnings[1], HasSubstr("more than 10 %"));
}

TEST(WarnOfRangesTest, ARangeWithOneMovedEndMoved) {
  QuantizerReport two_ends = Activation("x", 1.5, 1.5, 0);
  two_ends.low = -0.9;
  two_ends.low_initial = -1;
  EXPECT_TRUE(WarnOfRanges({two_ends}, CompleteConfig()).empty());
}

TEST(WarnOfRangesTest, NothingMovesWithoutTraining) {
  v1::QuantizationConfig config = CompleteConfig();
  config.mutable_training()->set_enabled(false);
  EXPECT_TRUE(WarnOfRanges({Activation("x", 1.5, 1.5, 0)}, config).empty());
}

TEST(WarnOfRangesTest, LongListsAreCutShort) {
  std::vector<QuantizerReport> many;
  for (int i = 0; i < 8; ++i) many.push_back(Activation("q" + std::to_string(i), 1, 2, 0.5));
  const auto warnings = WarnOfRanges(many, CompleteConfig());
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_THAT(warnings[0], HasSubstr("and 3 more"));
  EXPECT_THAT(warnings[0], Not(HasSubstr("q5")));
}

}  // namespace
}  // namespace pactory::quant

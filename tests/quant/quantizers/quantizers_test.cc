#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "config/quantizer_methods.h"
#include "quant/quantizers/grid.h"
#include "quant/quantizers/registry.h"

namespace pactory::quant {
namespace {

std::unique_ptr<Quantizer> Make(QuantizerSpec spec) {
  spec.id = "q";
  auto quantizer = MakeQuantizer(spec);
  EXPECT_TRUE(quantizer.ok()) << quantizer.status();
  return *std::move(quantizer);
}

at::Tensor Learned(Quantizer& quantizer, size_t index = 0) { return *quantizer.learned().at(index).tensor; }

// Steps down the gradient of mean((y - x)^2).
void Descend(Quantizer& quantizer, const at::Tensor& x, int steps, double rate) {
  for (int step = 0; step < steps; ++step) {
    (quantizer.Apply(x) - x).square().mean().backward();
    for (const LearnedValue& value : quantizer.learned()) {
      value.tensor->detach().sub_(value.tensor->grad() * rate);
      value.tensor->mutable_grad() = at::Tensor();
    }
    quantizer.Constrain();
  }
}

double ErrorOf(Quantizer& quantizer, const at::Tensor& x) {
  return (quantizer.Apply(x) - x).detach().square().mean().item<double>();
}

TEST(QuantizersTest, EveryMethodIsRegistered) {
  std::vector<v1::QuantizerMethod> methods;
  for (const QuantizerDefinition* definition : AllQuantizers()) {
    methods.push_back(definition->method);
    EXPECT_FALSE(definition->doc.empty());
    EXPECT_FALSE(definition->targets.empty());
  }
  EXPECT_EQ(methods, (std::vector<v1::QuantizerMethod>{v1::PACT, v1::PACT_TWO_SIDED, v1::MOVING_AVERAGE_ABS_MAX,
                                                       v1::ABS_MAX, v1::CHANNEL_ABS_MAX, v1::RANGE_ABS_MAX, v1::AFFINE,
                                                       v1::PACT_AFFINE, v1::LSQ, v1::LSQ_PLUS, v1::CHANNEL_LSQ,
                                                       v1::CHANNEL_MSE, v1::POWER_OF_TWO}));
}

TEST(QuantizersTest, ConfigsTakeTheMethodsThatAreRegisteredForTheirKindAndNoOthers) {
  for (int number = v1::QuantizerMethod_MIN; number <= v1::QuantizerMethod_MAX; ++number) {
    const auto method = static_cast<v1::QuantizerMethod>(number);
    if (!v1::QuantizerMethod_IsValid(number)) continue;
    const QuantizerDefinition* definition = FindQuantizer(method);
    const auto serves = [&](QuantizerTarget target) {
      return definition != nullptr && std::count(definition->targets.begin(), definition->targets.end(), target) > 0;
    };
    EXPECT_EQ(CheckWeightMethod("f", method).ok(), serves(QuantizerTarget::kWeight)) << v1::QuantizerMethod_Name(method);
    EXPECT_EQ(CheckActivationMethod("f", method).ok(), serves(QuantizerTarget::kActivation)) << v1::QuantizerMethod_Name(method);
    EXPECT_EQ(CheckSymmetricMethod("f", method).ok(), definition == nullptr || !definition->affine) << v1::QuantizerMethod_Name(method);
  }
}

TEST(QuantizersTest, PowerOfTwoRaisesTheRangeToTheNextStep) {
  auto quantizer = Make({.method = v1::POWER_OF_TWO, .threshold = 3});
  // 3 / 127 is between 2^-6 and 2^-5.
  EXPECT_EQ(quantizer->Scales({}).item<float>(), 0.03125f);
  const at::Tensor x = at::tensor({0.04f, 0.05f, -9.0f});
  EXPECT_TRUE(at::equal(quantizer->Apply(x), at::tensor({0.03125f, 0.0625f, -127 * 0.03125f})));
}

TEST(QuantizersTest, GridsFollowBitsSignAndRange) {
  EXPECT_EQ(Make({.method = v1::PACT, .bits = 4, .signedness = Signedness::kSigned})->grid().qmax, 15);
  EXPECT_EQ(Make({.method = v1::PACT, .bits = 4})->grid().qmin, 0);
  EXPECT_EQ(Make({.method = v1::PACT_TWO_SIDED, .bits = 4})->grid().qmin, -7);
  EXPECT_EQ(Make({.method = v1::PACT_TWO_SIDED, .bits = 8})->grid().qmax, 127);
  EXPECT_EQ(Make({.method = v1::PACT_TWO_SIDED, .bits = 8, .signedness = Signedness::kUnsigned})->grid().qmax, 255);
  const auto weight = [](int64_t bits, v1::WeightConfig::WeightRange range) {
    return Make({.method = v1::CHANNEL_ABS_MAX, .bits = bits, .target = QuantizerTarget::kWeight, .channel_axis = 0, .range = range})
        ->grid()
        .qmax;
  };
  EXPECT_EQ(weight(8, v1::WeightConfig::FULL), 127);
  EXPECT_EQ(weight(8, v1::WeightConfig::REDUCED), 63);
  EXPECT_EQ(weight(4, v1::WeightConfig::REDUCED), 7);
  EXPECT_EQ(weight(2, v1::WeightConfig::FULL), 1);
}

TEST(QuantizersTest, WeightRangeAutoIsReducedOnlyWhereSumsSaturate) {
  v1::QuantizationConfig config;
  config.mutable_weights()->set_range(v1::WeightConfig::AUTO);
  EXPECT_EQ(ResolveWeightRange(config), v1::WeightConfig::REDUCED);
  config.mutable_export_()->set_target(v1::ExportConfig::ARM);
  EXPECT_EQ(ResolveWeightRange(config), v1::WeightConfig::FULL);
  config.mutable_weights()->set_range(v1::WeightConfig::REDUCED);
  EXPECT_EQ(ResolveWeightRange(config), v1::WeightConfig::REDUCED);
}

TEST(QuantizersTest, PactLearnsAlphaByGradientDescent) {
  // The best alpha for clipped values of one sign is their mean; descent must end there.
  auto quantizer = Make({.method = v1::PACT, .bits = 8, .threshold = 0.5});
  at::Tensor x = at::full({64}, 3.0f);
  for (int step = 0; step < 200; ++step) {
    at::Tensor loss = (quantizer->Apply(x) - 2.0).square().mean();
    loss.backward();
    Learned(*quantizer).detach().sub_(Learned(*quantizer).grad() * 0.1);
    Learned(*quantizer).mutable_grad() = at::Tensor();
    quantizer->Constrain();
  }
  EXPECT_NEAR(Learned(*quantizer).item<float>(), 2.0, 1e-3);
  EXPECT_NEAR(quantizer->Scales(x).item<float>(), 2.0 / 255, 1e-5);
}

TEST(QuantizersTest, AlphaStaysPositiveAndFinite) {
  auto quantizer = Make({.method = v1::PACT_TWO_SIDED, .threshold = 4});
  Learned(*quantizer).detach().fill_(-1.0);
  quantizer->Constrain();
  EXPECT_FLOAT_EQ(Learned(*quantizer).item<float>(), 0.004f);
  Learned(*quantizer).detach().fill_(std::nanf(""));
  quantizer->Constrain();
  EXPECT_FLOAT_EQ(Learned(*quantizer).item<float>(), 4.0f);
}

TEST(QuantizersTest, MovingAverageIsBiasCorrectedAndFrozenOutsideTraining) {
  auto quantizer = Make({.method = v1::MOVING_AVERAGE_ABS_MAX, .threshold = 2, .moving_rate = 0.9});
  at::Tensor five = at::tensor({-5.0f, 1.0f});
  quantizer->Apply(five);
  EXPECT_FLOAT_EQ(quantizer->Scales(five).item<float>(), 2.0f / 127);
  quantizer->set_mode(QuantizerMode::kTraining);
  quantizer->Apply(five);
  // state 0.9 * 1 + 1, accum 0.9 * 2 + 5.
  EXPECT_FLOAT_EQ(quantizer->Scales(five).item<float>(), 6.8f / 1.9f / 127);
  quantizer->Apply(at::tensor({std::nanf("")}));
  EXPECT_FLOAT_EQ(quantizer->Scales(five).item<float>(), 6.8f / 1.9f / 127);
  quantizer->set_mode(QuantizerMode::kFrozen);
  quantizer->Apply(five);
  EXPECT_FLOAT_EQ(quantizer->Scales(five).item<float>(), 6.8f / 1.9f / 127);
}

TEST(QuantizersTest, AbsMaxKeepsTheCalibratedRange) {
  auto quantizer = Make({.method = v1::ABS_MAX, .signedness = Signedness::kUnsigned, .threshold = 2.55});
  at::Tensor y = quantizer->Apply(at::tensor({-1.0f, 0.014f, 1.0f, 9.0f}));
  EXPECT_TRUE(at::allclose(y, at::tensor({0.0f, 0.01f, 1.0f, 2.55f})));
}

TEST(QuantizersTest, WeightMethodsDifferInScalesOnly) {
  at::Tensor w = at::tensor({1.0f, -0.5f, 0.1f, 0.07f}).reshape({2, 2});
  auto whole = Make({.method = v1::ABS_MAX, .target = QuantizerTarget::kWeight});
  auto channels = Make({.method = v1::CHANNEL_ABS_MAX, .target = QuantizerTarget::kWeight, .channel_axis = 0});
  EXPECT_EQ(whole->Scales(w).numel(), 1);
  EXPECT_FLOAT_EQ(whole->Scales(w).item<float>(), 1.0f / 127);
  EXPECT_FLOAT_EQ(channels->Scales(w)[1].item<float>(), 0.1f / 127);
}

TEST(QuantizersTest, LearnedRangesOfWeightsComeBackToTheLeastErrorInEveryChannel) {
  at::manual_seed(6);
  // A tenfold range in each further channel: one learning rate must suit all.
  const at::Tensor w = at::randn({3, 4000}) * at::tensor({0.01f, 0.1f, 1.0f}).reshape({3, 1});
  auto quantizer = Make({.method = v1::CHANNEL_LSQ, .bits = 3, .target = QuantizerTarget::kWeight, .channel_axis = 0});
  quantizer->Start(w);
  const at::Tensor start = quantizer->Scales(w);
  Learned(*quantizer).detach().mul_(2);
  for (int step = 0; step < 300; ++step) {
    const at::Tensor relative = (quantizer->Apply(w) - w) / w.square().mean({1}, true).sqrt();
    relative.square().sum().backward();
    Learned(*quantizer).detach().sub_(Learned(*quantizer).grad() * 0.01);
    quantizer->learned()[0].tensor->mutable_grad() = at::Tensor();
    quantizer->Constrain();
  }
  // Max 1960: the best step of 7 levels is 0.6508 deviations of a normal distribution.
  for (int channel = 0; channel < 3; ++channel) {
    EXPECT_NEAR(start[channel].item<double>() / w[channel].std().item<double>(), 0.6508, 0.03) << channel;
    EXPECT_NEAR(quantizer->Scales(w)[channel].item<double>() / w[channel].std().item<double>(), 0.6508, 0.05) << channel;
  }
}

TEST(QuantizersTest, LearnedRangesOfWeightsStayPositiveAndFiniteByChannel) {
  auto quantizer = Make({.method = v1::CHANNEL_LSQ, .target = QuantizerTarget::kWeight, .channel_axis = 0});
  quantizer->Start(at::tensor({1.0f, 2.0f, 3.0f}).reshape({3, 1}));
  Learned(*quantizer).detach().copy_(at::tensor({-4.0f, std::nanf(""), 0.5f}));
  quantizer->Constrain();
  EXPECT_TRUE(at::equal(Learned(*quantizer).detach(), at::tensor({1e-3f, 1.0f, 0.5f})));
  EXPECT_TRUE(at::allclose(quantizer->Scales({}), at::tensor({1e-3f, 2.0f, 1.5f}) / 127));
}

TEST(QuantizersTest, LeastErrorRangesOfWeightsAreNotLearned) {
  auto quantizer = Make({.method = v1::CHANNEL_MSE, .bits = 2, .target = QuantizerTarget::kWeight, .channel_axis = 0});
  at::Tensor w = at::ones({1, 21});
  w[0][0] = 4;
  quantizer->Start(w);
  EXPECT_TRUE(quantizer->learned().empty());
  // Only 0 and +-t can be had: 20 (1 - t)^2 + (4 - t)^2 is least at 24/21.
  EXPECT_NEAR(quantizer->Scales({}).item<double>(), 24.0 / 21, 0.04);
}

TEST(QuantizersTest, LsqFindsABetterStepThanTheRangeAndPactDoesNot) {
  at::manual_seed(1);
  const at::Tensor x = at::randn({20000});
  const double largest = x.abs().max().item<double>();
  auto lsq = Make({.method = v1::LSQ, .bits = 4, .threshold = largest});
  auto pact = Make({.method = v1::PACT_TWO_SIDED, .bits = 4, .threshold = largest});
  const double before = ErrorOf(*lsq, x);
  Descend(*lsq, x, 300, 0.5);
  Descend(*pact, x, 300, 0.5);
  // 15 levels of a normal distribution: the best uniform step has an error of 0.0131.
  EXPECT_GT(before, 0.02);
  EXPECT_NEAR(ErrorOf(*lsq, x), 0.0131, 0.001);
  // Nothing is clipped, so nothing moves PACT's alpha: it needs a loss that wants less.
  EXPECT_NEAR(ErrorOf(*pact, x), before, 1e-6);
}

TEST(QuantizersTest, LsqPlusFitsARangeThatReachesFurtherToOneSide) {
  at::manual_seed(2);
  const at::Tensor x = at::hardswish(at::randn({20000}) * 3);
  const double low = x.min().item<double>(), high = x.max().item<double>();
  auto affine = Make({.method = v1::LSQ_PLUS, .bits = 4, .threshold = high, .low = low});
  auto symmetric = Make({.method = v1::LSQ, .bits = 4, .threshold = high});
  Descend(*affine, x, 400, 2);
  Descend(*symmetric, x, 400, 2);
  double best_affine = 1, best_symmetric = 1;
  for (double step = 0.2; step < 2; step += 0.01) {
    const at::Tensor steps = (x / step).round();
    const auto error = [&](double first, double last) {
      return (steps.clamp(first, last) * step - x).square().mean().item<double>();
    };
    for (int first = -3; first <= 0; ++first) best_affine = std::min(best_affine, error(first, first + 15));
    best_symmetric = std::min(best_symmetric, error(-7, 7));
  }
  EXPECT_NEAR(ErrorOf(*affine, x), best_affine, 0.05 * best_affine);
  EXPECT_NEAR(ErrorOf(*symmetric, x), best_symmetric, 0.05 * best_symmetric);
  EXPECT_LT(best_affine, 0.5 * best_symmetric);
  const Grid grid = affine->grid();
  EXPECT_EQ(grid.qmax - grid.qmin, 15);
  EXPECT_EQ(StoredZeroPoint(grid), -grid.qmin);
  EXPECT_GT(StoredZeroPoint(grid), 0);
}

TEST(QuantizersTest, AffineMethodsOfATensorThatIsNeverNegativeStartTheirGridAtZero) {
  for (const v1::QuantizerMethod method : {v1::AFFINE, v1::PACT_AFFINE, v1::LSQ_PLUS}) {
    auto quantizer = Make({.method = method, .bits = 8, .signedness = Signedness::kUnsigned, .threshold = 2, .low = -1});
    EXPECT_EQ(quantizer->grid().qmin, 0) << method;
    EXPECT_EQ(quantizer->grid().qmax, 255) << method;
  }
}

TEST(QuantizersTest, LearnedBoundsKeepZeroInTheRangeAndStayFinite) {
  auto quantizer = Make({.method = v1::PACT_AFFINE, .threshold = 3, .low = -1});
  Learned(*quantizer, 0).detach().fill_(0.5);
  Learned(*quantizer, 1).detach().fill_(-2.0);
  quantizer->Constrain();
  EXPECT_FLOAT_EQ(Learned(*quantizer, 0).item<float>(), 0.0f);
  EXPECT_FLOAT_EQ(Learned(*quantizer, 1).item<float>(), 0.004f);
  Learned(*quantizer, 0).detach().fill_(std::nanf(""));
  Learned(*quantizer, 1).detach().fill_(std::numeric_limits<float>::infinity());
  quantizer->Constrain();
  EXPECT_FLOAT_EQ(Learned(*quantizer, 0).item<float>(), -1.0f);
  EXPECT_FLOAT_EQ(Learned(*quantizer, 1).item<float>(), 3.0f);
}

TEST(QuantizersTest, AffineFollowsBothEndsInTrainingOnly) {
  auto quantizer = Make({.method = v1::AFFINE, .threshold = 3, .low = -1, .moving_rate = 0.9});
  const at::Tensor x = at::tensor({-2.0f, 0.5f, 5.0f});
  quantizer->Apply(x);
  EXPECT_NEAR(quantizer->Scales(x).item<float>(), 4.0 / 255, 1e-7);
  quantizer->set_mode(QuantizerMode::kTraining);
  quantizer->Apply(x);
  // state 1.9; low 0.9 * -1 - 2; high 0.9 * 3 + 5.
  EXPECT_NEAR(quantizer->Scales(x).item<float>(), (7.7 + 2.9) / 1.9 / 255, 1e-7);
  EXPECT_EQ(quantizer->grid().qmin, std::nearbyint(-2.9 / (7.7 + 2.9) * 255));
  quantizer->Apply(at::tensor({std::nanf("")}));
  EXPECT_NEAR(quantizer->Scales(x).item<float>(), (7.7 + 2.9) / 1.9 / 255, 1e-7);
}

TEST(QuantizersTest, RangeAbsMaxForgetsBatchesBeyondItsWindow) {
  auto quantizer = Make({.method = v1::RANGE_ABS_MAX, .threshold = 9, .window = 3});
  quantizer->set_mode(QuantizerMode::kTraining);
  std::vector<float> ranges;
  for (const float largest : {2.0f, 5.0f, 1.0f, 1.0f, 1.0f}) {
    quantizer->Apply(at::tensor({-largest, 0.1f}));
    ranges.push_back(quantizer->Scales({}).item<float>() * 127);
  }
  const std::vector<float> expected = {9, 9, 5, 5, 1};
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(ranges[i], expected[i], 1e-5) << i;
}

TEST(QuantizersTest, BadSpecsAreRefusedByName) {
  for (QuantizerSpec spec : {QuantizerSpec{.method = v1::NONE}, QuantizerSpec{.method = v1::PACT, .bits = 9},
                             QuantizerSpec{.method = v1::PACT, .threshold = 0},
                             QuantizerSpec{.method = v1::PACT, .threshold = std::numeric_limits<double>::quiet_NaN()},
                             QuantizerSpec{.method = v1::PACT, .target = QuantizerTarget::kWeight},
                             QuantizerSpec{.method = v1::CHANNEL_ABS_MAX}}) {
    spec.id = "conv_in";
    const auto made = MakeQuantizer(spec);
    ASSERT_FALSE(made.ok());
    EXPECT_EQ(made.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(made.status().message().find("conv_in"), std::string::npos) << made.status();
  }
}

}  // namespace
}  // namespace pactory::quant

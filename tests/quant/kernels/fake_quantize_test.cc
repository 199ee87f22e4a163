#include "quant/kernels/fake_quantize.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace pactory::quant {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

at::Tensor Floats(const std::vector<float>& values) { return at::tensor(values, at::kFloat); }

at::Tensor Alpha(float value) { return at::full({1}, value).requires_grad_(true); }

std::vector<float> ToVector(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.detach().contiguous();
  return {flat.data_ptr<float>(), flat.data_ptr<float>() + flat.numel()};
}

// The definition, one element at a time in double precision, written apart from the kernel.
double Reference(double x, double alpha, double qmin, double qmax) {
  const double step = alpha / qmax;
  const double clipped = std::fmin(std::fmax(x, qmin * step), alpha);
  return std::nearbyint(clipped / step) * step;
}

struct Gradients {
  std::vector<float> dx;
  float dalpha;
};

// Gradients of sum(w * y) for given w.
Gradients Backward(const std::vector<float>& x_values, const std::vector<float>& w, float alpha_value, Grid grid) {
  at::Tensor x = Floats(x_values).requires_grad_(true);
  at::Tensor alpha = Alpha(alpha_value);
  (FakeQuantizeLearned(x, alpha, grid) * Floats(w)).sum().backward();
  return {ToVector(x.grad()), alpha.grad().item<float>()};
}

TEST(FakeQuantizeLearnedTest, TwoSidedForwardFollowsTheFormula) {
  at::Tensor x = at::linspace(-5, 5, 4001);
  for (int64_t qmax : {1, 7, 63, 127}) {
    const std::vector<float> y = ToVector(FakeQuantizeLearned(x, Alpha(2.6f), {-qmax, qmax}));
    for (int64_t i = 0; i < x.numel(); ++i) {
      const double exact = Reference(x[i].item<float>(), 2.6f, -qmax, qmax);
      // On a tie of the float quotient either neighbour is right in double; elsewhere only rounding differs.
      ASSERT_NEAR(y[i], exact, 1e-5 + (std::fabs(std::fabs(std::remainder(x[i].item<float>(), 2.6 / qmax)) -
                                                 1.3 / qmax) < 1e-5
                                           ? 2.6 / qmax
                                           : 0))
          << "x=" << x[i].item<float>() << " qmax=" << qmax;
    }
  }
}

TEST(FakeQuantizeLearnedTest, UnsignedForwardFollowsPaperEquationTwo) {
  at::Tensor x = Floats({-1.0f, -0.01f, 0.0f, 0.09f, 0.11f, 1.0f, 2.99f, 3.0f, 100.0f});
  // alpha = 3, 4 bits: step 0.2
  const std::vector<float> y = ToVector(FakeQuantizeLearned(x, Alpha(3.0f), {0, 15}));
  const std::vector<float> expected = {0, 0, 0, 0, 0.2f, 1.0f, 3.0f, 3.0f, 3.0f};
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(y[i], expected[i], 1e-6) << i;
}

TEST(FakeQuantizeLearnedTest, TiesGoToTheEvenInteger) {
  // alpha = 127: step exactly 1.
  const std::vector<float> y =
      ToVector(FakeQuantizeLearned(Floats({0.5f, 1.5f, 2.5f, 3.5f, -0.5f, -1.5f, -2.5f, 125.5f}), Alpha(127.0f), {-127, 127}));
  EXPECT_EQ(y, (std::vector<float>{0, 2, 2, 4, 0, -2, -2, 126}));
}

TEST(FakeQuantizeLearnedTest, TwoSidedGradientsAtTheEdges) {
  const std::vector<float> x = {-3.0f, -2.0f, std::nextafter(-2.0f, -3.0f), -1.0f, 0.0f, 1.0f, std::nextafter(2.0f, 1.0f), 2.0f, 3.0f};
  const std::vector<float> w = {1, 2, 4, 8, 16, 32, 64, 128, 256};
  const Gradients result = Backward(x, w, 2.0f, {-127, 127});
  EXPECT_EQ(result.dx, (std::vector<float>{0, 2, 0, 8, 16, 32, 64, 0, 0}));
  // +1 at x >= alpha, -1 below -alpha: 128 + 256 - 1 - 4.
  EXPECT_FLOAT_EQ(result.dalpha, 379.0f);
}

TEST(FakeQuantizeLearnedTest, PaperGradientsAtTheEdges) {
  const std::vector<float> x = {-3.0f, -1e-6f, 0.0f, 1.0f, std::nextafter(2.0f, 1.0f), 2.0f, 3.0f};
  const std::vector<float> w = {1, 2, 4, 8, 16, 32, 64};
  const Gradients result = Backward(x, w, 2.0f, {0, 255});
  EXPECT_EQ(result.dx, (std::vector<float>{0, 0, 4, 8, 16, 0, 0}));
  EXPECT_FLOAT_EQ(result.dalpha, 96.0f);
}

// The straight-through estimator is the gradient of the clip alone; off the edges that is a finite difference of the clip.
TEST(FakeQuantizeLearnedTest, GradientsAreTheClipsFiniteDifferences) {
  at::Tensor x = at::linspace(-4, 4, 801);
  at::Tensor w = at::sin(at::arange(801, at::kFloat));
  const float alpha = 1.2345f;
  for (const bool two_sided : {true, false}) {
    const Grid grid = two_sided ? Grid{-7, 7} : Grid{0, 15};
    const auto clip_sum = [&](const at::Tensor& values, double bound) {
      return (values.to(at::kDouble).clamp(two_sided ? -bound : 0.0, bound) * w).sum().item<double>();
    };
    const Gradients result = Backward(ToVector(x), ToVector(w), alpha, grid);
    const double step = 1e-4;
    EXPECT_NEAR(result.dalpha, (clip_sum(x, alpha + step) - clip_sum(x, alpha - step)) / (2 * step), 1e-3);
    for (int64_t i = 3; i < 801; i += 37) {
      const double value = x[i].item<float>();
      if (std::fabs(std::fabs(value) - alpha) < 2e-4 || std::fabs(value) < 2e-4) continue;
      at::Tensor up = x.clone(), down = x.clone();
      up[i] += step;
      down[i] -= step;
      EXPECT_NEAR(result.dx[i], (clip_sum(up, alpha) - clip_sum(down, alpha)) / (2 * step), 1e-2) << value;
    }
  }
}

TEST(FakeQuantizeLearnedTest, NonFiniteValuesClipOrStayVisible) {
  at::Tensor y = FakeQuantizeLearned(Floats({kInfinity, -kInfinity, std::nanf("")}), Alpha(1.0f), {-127, 127});
  EXPECT_FLOAT_EQ(y[0].item<float>(), 1.0f);
  EXPECT_FLOAT_EQ(y[1].item<float>(), -1.0f);
  EXPECT_TRUE(std::isnan(y[2].item<float>()));
}

TEST(FakeQuantizeLearnedTest, LayoutDoesNotChangeValuesOrGradients) {
  at::Tensor base = at::randn({3, 5, 7, 11});
  at::Tensor w = at::randn({3, 5, 7, 11});
  at::Tensor last = base.contiguous(at::MemoryFormat::ChannelsLast).requires_grad_(true);
  at::Tensor plain = base.clone().requires_grad_(true);
  at::Tensor strided = at::zeros({3, 5, 7, 22}).slice(3, 0, 22, 2).copy_(base).detach().requires_grad_(true);
  at::Tensor alpha_last = Alpha(0.8f), alpha_plain = Alpha(0.8f), alpha_strided = Alpha(0.8f);
  at::Tensor y_last = FakeQuantizeLearned(last, alpha_last, {-127, 127});
  at::Tensor y_plain = FakeQuantizeLearned(plain, alpha_plain, {-127, 127});
  at::Tensor y_strided = FakeQuantizeLearned(strided, alpha_strided, {-127, 127});
  EXPECT_TRUE(y_last.is_contiguous(at::MemoryFormat::ChannelsLast));
  EXPECT_TRUE(at::equal(y_last, y_plain));
  EXPECT_TRUE(at::equal(y_strided, y_plain));
  (y_last * w).sum().backward();
  (y_plain * w).sum().backward();
  (y_strided * w).sum().backward();
  EXPECT_TRUE(at::equal(last.grad(), plain.grad()));
  EXPECT_TRUE(at::equal(strided.grad(), plain.grad()));
  EXPECT_NEAR(alpha_last.grad().item<float>(), alpha_plain.grad().item<float>(), 1e-4);
}

TEST(FakeQuantizeLearnedTest, SumsAreTheSameWithAnyNumberOfThreads) {
  at::Tensor x = at::randn({1000003});
  at::Tensor w = at::randn({1000003});
  std::vector<float> sums;
  const int threads = at::get_num_threads();
  for (int count : {1, 2, 3}) {
    at::set_num_threads(count);
    at::Tensor alpha = Alpha(0.5f);
    at::Tensor leaf = x.clone().requires_grad_(true);
    FakeQuantizeLearned(leaf, alpha, {-127, 127}).backward(w);
    sums.push_back(alpha.grad().item<float>());
  }
  at::set_num_threads(threads);
  EXPECT_EQ(sums[0], sums[1]);
  EXPECT_EQ(sums[0], sums[2]);
  const double exact = (w.to(at::kDouble) * (x.ge(0.5).to(at::kDouble) - x.lt(-0.5).to(at::kDouble))).sum().item<double>();
  EXPECT_NEAR(sums[0], exact, 0.05);
}

// The composed form is what CUDA runs; double precision takes the same path on CPU.
TEST(FakeQuantizeLearnedTest, ComposedFormAgreesWithTheLoops) {
  at::Tensor x = at::randn({257});
  at::Tensor w = at::randn({257});
  for (Grid grid : {Grid{-7, 7}, Grid{0, 15}, Grid{-128, 127}}) {
    at::Tensor x_loop = x.clone().requires_grad_(true), a_loop = Alpha(0.9f);
    at::Tensor x_composed = x.to(at::kDouble).requires_grad_(true);
    at::Tensor a_composed = at::full({1}, 0.9f).to(at::kDouble).requires_grad_(true);
    at::Tensor y_loop = FakeQuantizeLearned(x_loop, a_loop, grid);
    at::Tensor y_composed = FakeQuantizeLearned(x_composed, a_composed, grid);
    EXPECT_TRUE(at::allclose(y_loop.to(at::kDouble), y_composed, 1e-5, 1e-5));
    y_loop.backward(w);
    y_composed.backward(w.to(at::kDouble));
    EXPECT_TRUE(at::allclose(x_loop.grad().to(at::kDouble), x_composed.grad()));
    EXPECT_NEAR(a_loop.grad().item<double>(), a_composed.grad().item<double>(), 1e-4);
  }
}

TEST(FakeQuantizeFixedTest, LargestValueKeepsItsGradient) {
  at::Tensor x = Floats({-2.0f, -1.0f, 1.0f, 2.0f, 2.5f}).requires_grad_(true);
  FakeQuantizeFixed(x, 2.0, {-127, 127}).sum().backward();
  EXPECT_EQ(ToVector(x.grad()), (std::vector<float>{1, 1, 1, 1, 0}));
}

TEST(FakeQuantizeAbsMaxTest, EachChannelHasItsOwnScale) {
  at::Tensor w = Floats({3.5f, -7.0f, 1.75f, 7.0f, 3.4f, -14.0f}).reshape({2, 3});
  at::Tensor scales = AbsMaxScales(w, 0, 7, 1e-12);
  EXPECT_FLOAT_EQ(scales[0].item<float>(), 1.0f);
  EXPECT_FLOAT_EQ(scales[1].item<float>(), 2.0f);
  // Row 0: 3.5 -> 4 (even), -7, 1.75 -> 2. Row 1: 3.5 -> 4 (even), 1.7 -> 2, -7.
  const std::vector<float> expected = {4, -7, 2, 8, 4, -14};
  const std::vector<float> y = ToVector(FakeQuantizeAbsMax(w, 0, 7, 1e-12));
  for (size_t i = 0; i < y.size(); ++i) EXPECT_FLOAT_EQ(y[i], expected[i]) << i;
}

TEST(FakeQuantizeAbsMaxTest, AnyAxisAndLayoutGiveTheSameAsPlainFormulas) {
  at::Tensor w = at::randn({6, 4, 3, 5});
  for (int64_t axis : {-1, 0, 1, 3}) {
    std::vector<int64_t> others;
    for (int64_t i = 0; i < 4; ++i) {
      if (i != axis) others.push_back(i);
    }
    at::Tensor scale = w.abs().amax(others, true) / 63.0;
    at::Tensor expected = (w / scale).round() * scale;
    EXPECT_TRUE(at::allclose(FakeQuantizeAbsMax(w, axis, 63, 1e-12), expected, 1e-5, 1e-6)) << axis;
    EXPECT_TRUE(at::allclose(FakeQuantizeAbsMax(w.contiguous(at::MemoryFormat::ChannelsLast), axis, 63, 1e-12), expected,
                             1e-5, 1e-6))
        << axis;
    EXPECT_TRUE(at::allclose(AbsMaxScales(w, axis, 63, 1e-12), scale.flatten(), 1e-6, 0)) << axis;
  }
}

TEST(FakeQuantizeAbsMaxTest, GradientPassesUnchangedAndZeroChannelsStayZero) {
  at::Tensor w = at::randn({3, 4});
  w[1].zero_();
  w.requires_grad_(true);
  at::Tensor upstream = at::randn({3, 4});
  at::Tensor y = FakeQuantizeAbsMax(w, 0, 127, 1e-8);
  y.backward(upstream);
  EXPECT_TRUE(at::equal(w.grad(), upstream));
  EXPECT_TRUE(at::equal(y[1], at::zeros({4})));
}

}  // namespace
}  // namespace pactory::quant

// Gradients of learned steps and bounds, against the papers' formulas written out in double precision.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "quant/kernels/fake_quantize.h"

namespace pactory::quant {
namespace {

at::Tensor LearnedScalar(double value) { return at::full({1}, value, at::kFloat).requires_grad_(true); }

struct StepGradients {
  std::vector<double> dx;
  double dlow = 0;
  double dhigh = 0;
};

// LSQ+, equations 4 to 7, for upstream gradients w: with s and beta, turned into low = beta and high = beta + levels * s.
StepGradients ReferenceGradients(const at::Tensor& x, const at::Tensor& w, double s, int64_t first, int64_t levels) {
  StepGradients result;
  double ds = 0, dbeta = 0;
  for (int64_t i = 0; i < x.numel(); ++i) {
    const double value = x[i].item<double>(), upstream = w[i].item<double>();
    const double steps = value / s - static_cast<double>(first);
    const bool above = steps >= static_cast<double>(levels), below = steps < 0;
    result.dx.push_back(above || below ? 0 : upstream);
    if (above) {
      ds += upstream * static_cast<double>(levels);
      dbeta += upstream;
    } else if (below) {
      dbeta += upstream;
    } else {
      ds += upstream * (std::nearbyint(value / s) - value / s);
    }
  }
  result.dhigh = ds / static_cast<double>(levels);
  result.dlow = dbeta - result.dhigh;
  return result;
}

TEST(FakeQuantizeStepTest, AlphaMovesByLsqEquationThree) {
  at::manual_seed(1);
  // Sizes below, at and above the loops' lanes and blocks.
  for (const int64_t count : {5, 16, 33, 40000}) {
    for (const Grid grid : {Grid{-7, 7}, Grid{0, 15}, Grid{-127, 127}}) {
      at::Tensor x = (at::randn({count}) * 2).requires_grad_(true);
      const at::Tensor w = at::randn({count});
      const at::Tensor alpha = LearnedScalar(2.5);
      (FakeQuantizeLearned(x, alpha, grid, RangeGradient::kClipAndRounding) * w).sum().backward();
      const double s = 2.5 / static_cast<double>(grid.qmax);
      double ds = 0;
      for (int64_t i = 0; i < count; ++i) {
        const double steps = x[i].item<double>() / s, upstream = w[i].item<double>();
        if (steps >= static_cast<double>(grid.qmax)) ds += upstream * static_cast<double>(grid.qmax);
        else if (steps < static_cast<double>(grid.qmin)) ds += upstream * static_cast<double>(grid.qmin);
        else ds += upstream * (std::nearbyint(steps) - steps);
      }
      EXPECT_NEAR(alpha.grad().item<double>(), ds / static_cast<double>(grid.qmax), 1e-4 * std::sqrt(count))
          << count << " " << grid.qmax;
    }
  }
}

TEST(FakeQuantizeStepTest, PactsGradientHasNoRoundingInIt) {
  at::Tensor x = at::tensor({0.3f, -0.7f, 1.1f});
  const at::Tensor alpha = LearnedScalar(2.0);
  FakeQuantizeLearned(x, alpha, {-7, 7}, RangeGradient::kClip).sum().backward();
  EXPECT_EQ(alpha.grad().item<float>(), 0);
}

TEST(FakeQuantizeBoundsTest, ValuesLieOnAGridThatHoldsZero) {
  const at::Tensor x = at::linspace(-3, 8, 2001);
  const at::Tensor low = at::full({1}, -1.3f), high = at::full({1}, 5.2f);
  for (const int64_t levels : {3, 15, 255}) {
    const at::Tensor y = FakeQuantizeBounds(x, low, high, levels, RangeGradient::kClip);
    const double s = 6.5 / static_cast<double>(levels);
    const double first = std::nearbyint(-1.3 / s);
    const Grid grid = GridOfBounds(low, high, levels);
    EXPECT_EQ(grid.qmin, first);
    EXPECT_EQ(grid.qmax, first + static_cast<double>(levels));
    const at::Tensor steps = (x.to(at::kDouble) / s).round().clamp(first, first + static_cast<double>(levels));
    // A tie of the float quotient may go to either neighbour in double.
    const at::Tensor tie = ((x.to(at::kDouble) / s - 0.5) - (x.to(at::kDouble) / s - 0.5).round()).abs() < 1e-4;
    EXPECT_LT(((y - steps * s).abs() * tie.logical_not()).max().item<double>(), 1e-5) << levels;
    EXPECT_EQ(FakeQuantizeBounds(at::zeros({3}), low, high, levels, RangeGradient::kClip).abs().max().item<float>(), 0);
  }
}

TEST(FakeQuantizeBoundsTest, BothEndsMoveByLsqPlus) {
  at::manual_seed(2);
  for (const int64_t count : {7, 33, 40000}) {
    at::Tensor x = (at::randn({count}) * 3 + 1).requires_grad_(true);
    const at::Tensor w = at::randn({count});
    const at::Tensor low = LearnedScalar(-1.5), high = LearnedScalar(4.5);
    (FakeQuantizeBounds(x, low, high, 15, RangeGradient::kClipAndRounding) * w).sum().backward();
    // s = 0.4; low / s = -3.75, so that the grid begins at -4.
    const StepGradients expected = ReferenceGradients(x.detach(), w, 0.4, -4, 15);
    const at::Tensor dx = x.grad();
    for (int64_t i = 0; i < std::min<int64_t>(count, 500); ++i) ASSERT_EQ(dx[i].item<double>(), expected.dx[i]) << i;
    EXPECT_NEAR(high.grad().item<double>(), expected.dhigh, 1e-4 * std::sqrt(count));
    EXPECT_NEAR(low.grad().item<double>(), expected.dlow, 1e-4 * std::sqrt(count));
  }
}

TEST(FakeQuantizeBoundsTest, ClipGradientIsOnePerEnd) {
  const at::Tensor low = LearnedScalar(-1), high = LearnedScalar(2);
  (FakeQuantizeBounds(at::tensor({-5.0f, -0.5f, 0.7f, 3.0f, 9.0f}), low, high, 255, RangeGradient::kClip) *
   at::tensor({1.0f, 2.0f, 4.0f, 8.0f, 16.0f}))
      .sum()
      .backward();
  EXPECT_EQ(low.grad().item<float>(), 1);
  EXPECT_EQ(high.grad().item<float>(), 24);
}

TEST(FakeQuantizeBoundsTest, SumsDoNotDependOnTheNumberOfThreads) {
  at::manual_seed(3);
  const at::Tensor x = at::randn({100000});
  const int threads = at::get_num_threads();
  std::vector<float> gradients;
  for (const int count : {1, 2}) {
    at::set_num_threads(count);
    const at::Tensor alpha = LearnedScalar(2);
    FakeQuantizeLearned(x, alpha, {-7, 7}, RangeGradient::kClipAndRounding).sum().backward();
    gradients.push_back(alpha.grad().item<float>());
  }
  at::set_num_threads(threads);
  EXPECT_EQ(gradients[0], gradients[1]);
}

}  // namespace
}  // namespace pactory::quant

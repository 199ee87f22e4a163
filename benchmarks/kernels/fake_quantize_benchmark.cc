// Times fake quantization with a learned range, forwards and backwards over one tensor, beside a plain copy of it and beside what
// LibTorch offers. Every form in turn, that several times over; the least and the median, and ratios of the least, as JSON.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <malloc.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "quant/kernels/fake_quantize.h"

namespace pactory::quant {
namespace {

// 128 MiB: far beyond any cache.
constexpr int64_t kElements = int64_t{1} << 25;
constexpr double kAlpha = 2.5;
constexpr int64_t kLevels = 127;

// Rounds forwards, passes the gradient: what users write around at::round.
class RoundStraightThrough : public torch::autograd::Function<RoundStraightThrough> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext*, const at::Tensor& x) { return x.round(); }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext*, torch::autograd::variable_list gradients) {
    return gradients;
  }
};

struct Form {
  std::string name;
  std::function<at::Tensor(const at::Tensor& x, const at::Tensor& alpha)> apply;
};

std::vector<Form> Forms() {
  return {
      {"pactory", [](const at::Tensor& x, const at::Tensor& alpha) { return FakeQuantizeLearned(x, alpha, {-kLevels, kLevels}); }},
      {"pactory_lsq",
       [](const at::Tensor& x, const at::Tensor& alpha) {
         return FakeQuantizeLearned(x, alpha, {-kLevels, kLevels}, RangeGradient::kClipAndRounding);
       }},
      {"aten_fixed",
       [](const at::Tensor& x, const at::Tensor&) {
         return at::fake_quantize_per_tensor_affine(x, kAlpha / kLevels, 0, -kLevels, kLevels);
       }},
      {"aten_learnable",
       [](const at::Tensor& x, const at::Tensor& alpha) {
         return at::_fake_quantize_learnable_per_tensor_affine(x, alpha / static_cast<double>(kLevels), at::zeros({1}), -kLevels, kLevels);
       }},
      {"composed_pact",
       [](const at::Tensor& x, const at::Tensor& alpha) {
         const at::Tensor clipped = x - at::relu(x - alpha) + at::relu(-alpha - x);
         const at::Tensor scale = alpha.detach() / static_cast<double>(kLevels);
         return RoundStraightThrough::apply(clipped / scale) * scale;
       }},
  };
}

template <typename Work>
double Seconds(const Work& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double ForwardAndBackward(const Form& form, const at::Tensor& values, const at::Tensor& upstream) {
  const at::Tensor x = values.detach().requires_grad_(true);
  const at::Tensor alpha = at::full({1}, kAlpha, at::kFloat).requires_grad_(true);
  return Seconds([&] {
    const at::Tensor y = form.apply(x, alpha);
    y.backward(upstream);
  });
}

struct Times {
  std::string name;
  std::vector<double> seconds;

  double Least() const { return *std::min_element(seconds.begin(), seconds.end()); }
  double Median() const {
    std::vector<double> sorted = seconds;
    std::sort(sorted.begin(), sorted.end());
    return sorted[sorted.size() / 2];
  }
};

void Run(int threads, int rounds) {
  at::set_num_threads(threads);
  at::manual_seed(0);
  const at::Tensor x = at::randn({kElements}) * 2, upstream = at::randn({kElements});
  at::Tensor copy = at::empty_like(x);
  std::vector<Times> times = {{.name = "copy"}};
  for (const Form& form : Forms()) times.push_back({.name = form.name});
  for (int round = 0; round <= rounds; ++round) {
    std::vector<double> seconds = {Seconds([&] { copy.copy_(x); })};
    for (const Form& form : Forms()) seconds.push_back(ForwardAndBackward(form, x, upstream));
    // The first round warms up.
    for (size_t i = 0; round > 0 && i < times.size(); ++i) times[i].seconds.push_back(seconds[i]);
  }
  // Forwards reads x and writes y and a byte of code; backwards reads the gradient and the code and writes a gradient.
  constexpr double kBytesOfElement = (4 + 4 + 1) + (4 + 1 + 4);
  constexpr double kBytesOfCopy = 8;
  const double needed = times[0].Least() * kBytesOfElement / kBytesOfCopy;
  std::printf("{\"ratios\": {\"fake quantization, %d thread%s\": {\"pactory / time of its bytes\": %.3f", threads, threads > 1 ? "s" : "",
              times[1].Least() / needed);
  for (const Times& row : times) {
    if (row.name == "copy" || row.name == "pactory") continue;
    // Of our own forms less is better, of others more.
    const bool ours = row.name == "pactory_lsq";
    std::printf(", \"%s / %s\": %.2f", row.name.c_str(), ours ? "copy" : "pactory", row.Least() / times[ours ? 0 : 1].Least());
  }
  std::printf("}}, \"rounds\": %d, \"elements\": %lld", rounds, static_cast<long long>(kElements));
  for (const Times& row : times) {
    std::printf(", \"%s\": {\"least_ms\": %.1f, \"median_ms\": %.1f}", row.name.c_str(), row.Least() * 1e3, row.Median() * 1e3);
  }
  std::printf("}\n");
}

}  // namespace
}  // namespace pactory::quant

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 1;
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 7;
  if (threads < 1 || rounds < 1) {
    std::fprintf(stderr, "usage: fake_quantize_benchmark [THREADS [ROUNDS]]\n");
    return 2;
  }
  // As the trainer does: a step's memory is the last one's, for all forms alike. Fresh pages would cost more than the loops.
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  pactory::quant::Run(threads, rounds);
  return 0;
}

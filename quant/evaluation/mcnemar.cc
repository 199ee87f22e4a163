#include "quant/evaluation/mcnemar.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

namespace pactory::quant {

double McNemarExact(int64_t only_first, int64_t only_second) {
  const double n = static_cast<double>(only_first + only_second);
  const int64_t smaller = std::min(only_first, only_second);
  // p = 2 * sum over k <= smaller of C(n, k) / 2^n, in logarithms: C(n, k) overflows from n = 1030 on.
  double sum = 0;
  for (int64_t k = 0; k <= smaller; ++k) {
    const double count = static_cast<double>(k);
    sum += std::exp(std::lgamma(n + 1) - std::lgamma(count + 1) - std::lgamma(n - count + 1) - n * std::log(2.0));
  }
  // The middle of an even n is in both tails.
  return std::min(1.0, 2 * sum);
}

PairedComparison CompareRight(const at::Tensor& first_right, const at::Tensor& second_right) {
  PairedComparison result;
  result.only_first = first_right.logical_and(second_right.logical_not()).sum().item<int64_t>();
  result.only_second = second_right.logical_and(first_right.logical_not()).sum().item<int64_t>();
  result.p_value = McNemarExact(result.only_first, result.only_second);
  return result;
}

}  // namespace pactory::quant

// Whether two models that answered the same samples differ by more than chance. Used by the report. Stateless.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace pactory::quant {

/// The samples on which one of two models is right and the other wrong, and what chance makes of them.
struct PairedComparison {
  int64_t only_first = 0;
  int64_t only_second = 0;
  /// Probability of a split at least this uneven between two models that are equally good.
  double p_value = 1;
};

/// Returns McNemar's exact test (McNemar 1947, with the binomial in place of chi-squared): two-sided, for n = only_first +
/// only_second samples that fall to either side with probability 1/2; 1 where n is 0.
double McNemarExact(int64_t only_first, int64_t only_second);

/// Compares two models. `first_right`, `second_right`: bool, one per sample, of the same length.
PairedComparison CompareRight(const at::Tensor& first_right, const at::Tensor& second_right);

}  // namespace pactory::quant

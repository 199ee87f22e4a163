#include "quant/evaluation/mcnemar.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace pactory::quant {
namespace {

// 2 * sum of C(n, k) / 2^n in Python integers, which is scipy.stats.binomtest(min(b, c), b + c).pvalue.
TEST(McNemarTest, MatchesTheBinomialTest) {
  EXPECT_NEAR(McNemarExact(0, 5), 0.0625, 1e-12);
  EXPECT_NEAR(McNemarExact(2, 10), 0.03857421875, 1e-12);
  EXPECT_NEAR(McNemarExact(10, 2), 0.03857421875, 1e-12);
  EXPECT_NEAR(McNemarExact(121, 59), 4.434449263755176e-06, 1e-12);
  EXPECT_EQ(McNemarExact(4, 4), 1);
  EXPECT_EQ(McNemarExact(0, 0), 1);
}

TEST(McNemarTest, ManySamplesNeitherOverflowNorVanish) {
  EXPECT_NEAR(McNemarExact(5000, 5000), 1, 1e-9);
  EXPECT_NEAR(McNemarExact(4900, 5100), 0.04658552770494739, 1e-8);
}

TEST(McNemarTest, CountsTheSamplesThatOnlyOneHasRight) {
  const at::Tensor first = at::tensor({1, 1, 0, 0, 1}).to(at::kBool);
  const at::Tensor second = at::tensor({1, 0, 1, 0, 0}).to(at::kBool);
  const PairedComparison result = CompareRight(first, second);
  EXPECT_EQ(result.only_first, 2);
  EXPECT_EQ(result.only_second, 1);
  EXPECT_EQ(result.p_value, 1);
}

}  // namespace
}  // namespace pactory::quant

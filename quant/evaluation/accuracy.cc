#include "quant/evaluation/accuracy.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace pactory::quant {
namespace {

std::string ShapeOf(const at::Tensor& tensor) {
  std::ostringstream text;
  text << tensor.sizes();
  return text.str();
}

}  // namespace

Interval WilsonInterval95(const Accuracy& accuracy) {
  if (accuracy.total == 0) return {};
  constexpr double kZ = 1.959963984540054;
  const double n = static_cast<double>(accuracy.total);
  const double p = accuracy.share();
  const double center = (p + kZ * kZ / (2 * n)) / (1 + kZ * kZ / n);
  const double half = kZ / (1 + kZ * kZ / n) * std::sqrt(p * (1 - p) / n + kZ * kZ / (4 * n * n));
  return {std::max(0.0, center - half), std::min(1.0, center + half)};
}

at::Tensor LargestOutputs(const at::Tensor& outputs) {
  const at::Tensor values = outputs.detach().to(at::kCPU);
  const at::Tensor answers = values.argmax(-1);
  return at::where(values.isnan().any(-1), at::full({}, -1, answers.options()), answers);
}

absl::Status CheckSameShape(const at::Tensor& answers, const at::Tensor& expected) {
  if (answers.sizes() == expected.sizes()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("answers and expected answers must have one shape: answers=",
                                                 ShapeOf(answers), " expected=", ShapeOf(expected)));
}

absl::StatusOr<at::Tensor> EqualSamples(const at::Tensor& answers, const at::Tensor& expected) {
  PACTORY_RETURN_IF_ERROR(CheckSameShape(answers, expected));
  return answers.eq(expected).reshape({answers.size(0), -1}).all(1);
}

absl::StatusOr<Accuracy> CountEqual(const at::Tensor& answers, const at::Tensor& expected) {
  PACTORY_ASSIGN_OR_RETURN(const at::Tensor equal, EqualSamples(answers, expected));
  return Accuracy{.right = equal.sum().item<int64_t>(), .total = answers.size(0)};
}

}  // namespace pactory::quant

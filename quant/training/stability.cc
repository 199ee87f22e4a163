#include "quant/training/stability.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace pactory::quant {
namespace {

constexpr double kRunawayUnits = 100;

double Median(std::deque<double> values) {
  const auto middle = values.begin() + static_cast<int64_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

void LossWatch::Reset(const std::vector<StepRecord>& steps) {
  window_.clear();
  first_ = least_ = median_ = 0;
  for (const StepRecord& record : steps) Add(record.loss);
}

void LossWatch::Add(double loss) {
  window_.push_back(loss);
  if (window_.size() > kLossWindow) window_.pop_front();
  if (window_.size() < kLossWindow) return;
  median_ = Median(window_);
  if (first_ == 0) first_ = least_ = median_;
  least_ = std::min(least_, median_);
}

bool LossWatch::IsTooLarge(double loss) const {
  return factor_ > 0 && first_ > 0 && loss > negligible_ && loss > first_ && loss > factor_ * least_;
}

std::string RangeFault(const LearnedValue& value) {
  // Of a weight there is one for each channel.
  const at::Tensor now = value.tensor->detach();
  const double least = now.min().item<double>();
  const double largest = now.abs().max().item<double>();
  // A lower end of 0 is a range of its own kind.
  if (value.start > 0 && least <= value.unit * kLeastLearnedShare * 1.0001) return absl::StrCat("died: ", least);
  if (largest > kRunawayUnits * value.unit) return absl::StrCat("ran away: ", largest);
  return "";
}

}  // namespace pactory::quant

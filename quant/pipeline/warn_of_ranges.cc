#include "quant/pipeline/warn_of_ranges.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace pactory::quant {
namespace {

// Of where a range started; the least step of an optimizer is far larger.
constexpr double kUnmovedShare = 1e-6;
constexpr size_t kNamed = 5;

bool Unmoved(const std::optional<double>& now, const std::optional<double>& start) {
  return now.has_value() && start.has_value() && std::fabs(*now - *start) <= kUnmovedShare * std::fabs(*start);
}

std::string Named(const std::vector<std::string>& names) {
  const size_t count = std::min(names.size(), kNamed);
  const std::string list = absl::StrJoin(names.begin(), names.begin() + static_cast<int64_t>(count), ", ");
  return names.size() > count ? absl::StrCat(list, " and ", names.size() - count, " more") : list;
}

}  // namespace

std::vector<std::string> WarnOfRanges(const std::vector<QuantizerReport>& quantizers, const v1::QuantizationConfig& config) {
  const double limit = config.training().warn_clipped_share();
  std::vector<std::string> unmoved, clipping;
  for (const QuantizerReport& q : quantizers) {
    if (config.training().enabled() && Unmoved(q.alpha, q.alpha_initial) && (!q.low.has_value() || Unmoved(q.low, q.low_initial))) {
      unmoved.push_back(q.name);
    }
    if (q.clipped_share.value_or(0) > limit) clipping.push_back(absl::StrFormat("%s (%.1f %%)", q.name, 100 * *q.clipped_share));
  }
  std::vector<std::string> warnings;
  if (!unmoved.empty()) {
    warnings.push_back(absl::StrCat("learned ranges never moved from where they started, as no gradient reaches them or their "
                                    "learning rate is 0: ", Named(unmoved)));
  }
  if (!clipping.empty()) {
    warnings.push_back(absl::StrFormat("activations clip more than %g %% of their values (training.warn_clipped_share): %s", 100 * limit,
                                       Named(clipping)));
  }
  return warnings;
}

}  // namespace pactory::quant

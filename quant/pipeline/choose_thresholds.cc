#include "quant/pipeline/choose_thresholds.h"

#include <algorithm>
#include <limits>

#include "base/status_macros.h"
#include "quant/observers/threshold.h"
#include "quant/pipeline/choose_quantizers.h"
#include "quant/quantizers/grid.h"

namespace pactory::quant {
namespace {

// Candidates closer than this are one.
constexpr double kLeastRatio = 1.02;

// From the largest down.
std::vector<double> Candidates(const AbsHistogram& histogram, int64_t steps) {
  std::vector<double> all = {AbsMaxThreshold(histogram), PercentileThreshold(histogram, 99.999),
                             PercentileThreshold(histogram, 99.99), MseThreshold(histogram, steps),
                             EntropyThreshold(histogram, steps)};
  std::sort(all.rbegin(), all.rend());
  std::vector<double> apart;
  for (const double threshold : all) {
    if (threshold > 0 && (apart.empty() || apart.back() > threshold * kLeastRatio)) apart.push_back(threshold);
  }
  return apart;
}

}  // namespace

absl::StatusOr<std::map<std::string, double>> ChooseThresholdsByOutput(
    OutputProbe& probe, const QuantizationPlan& plan, const std::map<std::string, AbsHistogram>& histograms,
    const v1::QuantizationConfig& config, const std::function<absl::Status(double share)>& on_share) {
  std::map<std::string, double> chosen;
  for (size_t i = 0; i < plan.activations.size(); ++i) {
    QuantizationPlan alone;
    alone.activations = {plan.activations[i]};
    const std::string& id = plan.activations[i].id;
    PACTORY_ASSIGN_OR_RETURN(const std::vector<QuantizerSpec> specs, ChooseQuantizers(alone, histograms, config));
    const int64_t steps = ActivationGrid(specs[0].bits, specs[0].signedness).qmax;
    double least = std::numeric_limits<double>::infinity();
    for (const double threshold : Candidates(histograms.at(id), steps)) {
      PACTORY_ASSIGN_OR_RETURN(const std::vector<QuantizerSpec> candidate,
                               ChooseQuantizers(alone, histograms, config, {{id, threshold}}));
      PACTORY_ASSIGN_OR_RETURN(const double error, probe.ErrorOf(candidate));
      if (chosen.contains(id) && error >= least) break;
      least = error;
      chosen[id] = threshold;
    }
    PACTORY_RETURN_IF_ERROR(on_share(static_cast<double>(i + 1) / static_cast<double>(plan.activations.size())));
  }
  return chosen;
}

}  // namespace pactory::quant

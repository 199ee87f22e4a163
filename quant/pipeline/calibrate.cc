#include "quant/pipeline/calibrate.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "quant/data/data_order.h"
#include "quant/execution/executor.h"

namespace pactory::quant {
namespace {

// An epoch of its own, so that calibration does not see the samples in the order training starts with.
constexpr int64_t kCalibrationEpoch = -1;

}  // namespace

std::vector<int64_t> CalibrationOrder(const Dataset& dataset, int64_t seed) {
  return ShuffledOrder(dataset.size(), static_cast<uint64_t>(seed), kCalibrationEpoch);
}

absl::StatusOr<Calibration> Calibrate(const Graph& graph, const Dataset& dataset, const CalibrationOptions& options) {
  c10::NoGradGuard no_grad;
  Calibration result;
  // Of the batch that runs.
  absl::Span<const int64_t> samples;
  const auto observe = [&](const Node& node) -> absl::StatusOr<Kernel> {
    // Weights and biases are not measured.
    if (graph.initializers.contains(node.inputs[0])) {
      return Kernel([](at::ArrayRef<at::Tensor> inputs) { return std::vector<at::Tensor>{inputs[0]}; });
    }
    AbsHistogram* histogram = &result.histograms[node.StringOr("quantizer", "")];
    RangeTrace* trace = &result.traces[node.StringOr("quantizer", "")];
    return Kernel([histogram, trace, &samples](at::ArrayRef<at::Tensor> inputs) {
      histogram->Observe(inputs[0]);
      trace->Observe(inputs[0], samples);
      return std::vector<at::Tensor>{inputs[0]};
    });
  };
  PACTORY_ASSIGN_OR_RETURN(const std::unique_ptr<Executor> executor, Executor::Create(graph, observe));
  executor->To(options.device);
  std::vector<int64_t> order = CalibrationOrder(dataset, options.seed);
  order.resize(std::min<size_t>(order.size(), static_cast<size_t>(options.samples)));
  for (size_t begin = 0; begin < order.size(); begin += static_cast<size_t>(options.batch_size)) {
    const size_t count = std::min(static_cast<size_t>(options.batch_size), order.size() - begin);
    samples = absl::MakeConstSpan(order).subspan(begin, count);
    PACTORY_ASSIGN_OR_RETURN(Batch batch, dataset.Read(samples));
    PACTORY_RETURN_IF_ERROR(executor->Run(OnDevice(std::move(batch.inputs), options.device)).status());
    if (options.on_batch) {
      PACTORY_RETURN_IF_ERROR(options.on_batch(static_cast<double>(begin + count) / static_cast<double>(order.size())));
    }
  }
  for (const auto& [id, histogram] : result.histograms) {
    if (histogram.non_finite_count() == 0) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "activations must be finite on the calibration data; check the model and `preprocess`: value=", id,
        " not finite=", histogram.non_finite_count()));
  }
  return result;
}

}  // namespace pactory::quant

#include "quant/post_training/calibration_samples.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "absl/types/span.h"
#include "base/status_macros.h"

namespace pactory::quant {

absl::StatusOr<std::vector<at::Tensor>> CalibrationSamples::Read(int64_t begin) const {
  const auto indices = absl::MakeConstSpan(order_).subspan(static_cast<size_t>(begin), static_cast<size_t>(batch_size_));
  PACTORY_ASSIGN_OR_RETURN(Batch batch, dataset_.Read(indices));
  return OnDevice(std::move(batch.inputs), device_);
}

}  // namespace pactory::quant

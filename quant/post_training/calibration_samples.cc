#include "quant/post_training/calibration_samples.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "absl/types/span.h"
#include "base/status_macros.h"

namespace pactory::quant {

absl::StatusOr<at::Tensor> CalibrationSamples::Read(int64_t begin) const {
  const auto indices = absl::MakeConstSpan(order_).subspan(static_cast<size_t>(begin), static_cast<size_t>(batch_size_));
  PACTORY_ASSIGN_OR_RETURN(const Batch batch, dataset_.Read(indices));
  return batch.x.to(device_);
}

}  // namespace pactory::quant

// The samples that post-training methods run a model on: the first of calibration's, batch by batch. Used by the pipeline and
// quant/post_training. Not thread-safe.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "quant/data/dataset.h"

namespace pactory::quant {

/// Samples of a dataset.
class CalibrationSamples {
 public:
  /// Borrows `dataset`. `order`: the samples by index.
  CalibrationSamples(const Dataset& dataset, std::vector<int64_t> order, int64_t batch_size, at::Device device)
      : dataset_(dataset), order_(std::move(order)), batch_size_(batch_size), device_(device) {}

  int64_t size() const { return static_cast<int64_t>(order_.size()); }
  int64_t batch_size() const { return batch_size_; }

  /// Returns the model's inputs for up to a batch of samples from position `begin` on, on the device.
  absl::StatusOr<std::vector<at::Tensor>> Read(int64_t begin) const;

 private:
  const Dataset& dataset_;
  const std::vector<int64_t> order_;
  const int64_t batch_size_;
  const at::Device device_;
};

}  // namespace pactory::quant

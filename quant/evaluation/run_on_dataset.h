// Runs a graph over a whole dataset. Used by the pipeline. Not thread-safe.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "quant/data/dataset.h"
#include "quant/execution/executor.h"

namespace pactory::quant {

/// How to run.
struct RunOptions {
  int64_t batch_size = 64;
  at::Device device = at::kCPU;
  /// Called after each batch with the samples done; a status that is not OK ends the run with it. May be null.
  std::function<absl::Status(int64_t done)> on_batch;
};

/// Returns the first output of every sample on the CPU, in the dataset's order, with no autograd recorded.
/// INVALID_ARGUMENT where the output's first axis is not the batch.
absl::StatusOr<at::Tensor> RunOnDataset(Executor& executor, const Dataset& dataset, const RunOptions& options);

}  // namespace pactory::quant

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
  /// What is kept of a batch's first outputs (float, CPU), with a row for each sample; null: the outputs themselves, which may
  /// be far larger than the answers that they stand for.
  std::function<absl::StatusOr<at::Tensor>(const at::Tensor& outputs)> keep;
};

/// Returns what is kept of every sample's first output, in the dataset's order, with no autograd recorded.
/// INVALID_ARGUMENT where the output's first axis is not the batch.
absl::StatusOr<at::Tensor> RunOnDataset(Executor& executor, const Dataset& dataset, const RunOptions& options);

}  // namespace pactory::quant

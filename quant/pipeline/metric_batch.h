// Collects a job's numbers and hands them on about once a second. Used by the training stages. Not thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "pactory/v1/job.pb.h"
#include "quant/pipeline/job.h"

namespace pactory::quant {

/// The numbers of one training.
class MetricBatch {
 public:
  /// Borrows `listener`. `prefix` goes before every name.
  MetricBatch(JobListener& listener, absl::string_view prefix, int64_t steps);

  /// Whether a step's many numbers (one per quantizer) are to be told: about fifty times in a training, and at its end.
  bool TellsDetails(int64_t step) const;

  void Add(absl::string_view name, int64_t step, double value);
  /// Hands on what was collected where a second has passed.
  void FlushSometimes();
  void Flush();

 private:
  JobListener& listener_;
  const std::string prefix_;
  const int64_t steps_;
  std::vector<v1::Metric> metrics_;
  std::chrono::steady_clock::time_point last_;
};

}  // namespace pactory::quant

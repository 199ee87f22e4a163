// One quantization job as the pipeline sees it, and whom it tells. Used by the trainer's subcommands.
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "pactory/v1/job.pb.h"
#include "pactory/v1/quantization.pb.h"

namespace pactory::quant {

/// What to do and where the files are.
struct QuantizationJob {
  /// `jobs/{id}`, or "" where there is no service.
  std::string name;
  std::string model_path;
  std::string train_data_path;
  std::string eval_data_path;
  /// Defaults need not be filled in.
  v1::QuantizationConfig config;
  /// Results go here; made where it is missing.
  std::string output_dir;
  /// Checkpoint to resume from; "" to start anew.
  std::string checkpoint_path;
  /// Program and first arguments of the check in the serving runtime; empty: the deployed model is not measured.
  std::vector<std::string> runtime_check_command;
  /// Threads to compute with; 0: as many as LibTorch takes by itself.
  int threads = 0;
  /// When the job must be done; training ends earlier, so that there is time for what follows it.
  absl::Time deadline = absl::InfiniteFuture();
};

/// Hears how a job goes. Called from the pipeline's thread.
class JobListener {
 public:
  virtual ~JobListener() = default;

  virtual void OnProgress(const v1::Progress& progress) {}
  virtual void OnMetrics(const std::vector<v1::Metric>& metrics) {}
  /// A checkpoint file is complete; it stays until the next but one is.
  virtual void OnCheckpoint(const std::string& path, int64_t step) {}
  /// Asked between steps: whether the job is to end now.
  virtual bool StopRequested() const { return false; }
  /// Asked between steps: whether training is to end now, and the job to be done with what it has.
  virtual bool StopTrainingRequested() const { return false; }
};

}  // namespace pactory::quant

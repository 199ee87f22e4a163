// The life of one leased job on this worker: fetch, train, publish, or say why not. Used by the agent's slots.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "pactory/v1/trainer.pb.h"
#include "pactory/v1/worker.pb.h"
#include "workers/agent/blob_cache.h"
#include "workers/agent/checkpoint_sender.h"
#include "workers/agent/job_folder.h"
#include "workers/agent/job_stop.h"
#include "workers/agent/lease_keeper.h"
#include "workers/agent/metric_sender.h"
#include "workers/agent/server_connection.h"
#include "workers/agent/trainer_process.h"

namespace pactory {

/// What all runs of an agent share.
struct RunSettings {
  /// Program and arguments that start a trainer on a job.
  std::vector<std::string> trainer_command;
  /// Passed on in TrainerJob.
  std::vector<std::string> runtime_check_command;
  std::string work_folder;
  absl::Duration heartbeat_interval = absl::Seconds(10);
  /// Limit of a trainer's private memory in bytes; 0 for none.
  int64_t memory_limit_bytes = 0;
  /// Times that a trainer killed by a signal is started again under one lease.
  int max_restarts = 2;
};

/// One run. Run() is called once, from a thread that lives as long as the trainer; stop() may be used by any thread.
class JobRun {
 public:
  /// The references must outlive the run.
  JobRun(ServerConnection& server, BlobCache& cache, const RunSettings& settings, v1::Lease lease);

  /// Does the job and tells the server the outcome: succeeded, failed or cancelled; gives the lease back on shutdown;
  /// keeps silent once the lease is lost. Returns whether it failed by what may be this host's trouble, like a full disk.
  bool Run();

  /// The signal that ends the run early.
  JobStop& stop() { return stop_; }

  /// `jobs/{id}`.
  const std::string& job() const { return lease_.token().job(); }

 private:
  // Artifacts to publish, and the error to report where there is one. A status means that the run was stopped or that the agent is at
  // fault.
  struct Outcome {
    std::vector<v1::Artifact> artifacts;
    std::optional<v1::JobError> error;
  };

  absl::StatusOr<Outcome> Work(LeaseKeeper& keeper, absl::Time deadline);
  absl::StatusOr<BlobCache::Pin> Fetch(const v1::BlobRef& blob);
  absl::StatusOr<Outcome> Train(JobFolder& folder, v1::TrainerJob job, LeaseKeeper& keeper);
  absl::StatusOr<TrainerEnd> RunTrainer(JobFolder& folder, const v1::TrainerJob& job, LeaseKeeper& keeper,
                                        MetricSender& metrics, CheckpointSender& checkpoints);
  void HoldCheckpoint(const JobFolder& folder, const v1::CheckpointWritten& written, CheckpointSender& checkpoints);
  absl::StatusOr<std::vector<v1::Artifact>> Upload(const JobFolder& folder,
                                                   const google::protobuf::RepeatedPtrField<v1::OutputFile>& files);
  // Has the training ended: at once, or as soon as the job has a folder.
  void StopTraining();
  void TellTrainerToStopTraining() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Report(const absl::StatusOr<Outcome>& outcome);
  void Finish(v1::FinishJobRequest request);

  ServerConnection& server_;
  BlobCache& cache_;
  const RunSettings& settings_;
  const v1::Lease lease_;
  JobStop stop_;
  absl::Mutex mutex_;
  // The trainer's last word, and where a new trainer would start.
  std::optional<v1::TrainerEvent> last_word_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<const HeldCheckpoint> checkpoint_ ABSL_GUARDED_BY(mutex_);
  int held_count_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stop_training_ ABSL_GUARDED_BY(mutex_) = false;
  // "" while the job has no folder.
  std::string stop_training_path_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace pactory

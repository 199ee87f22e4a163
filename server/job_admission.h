// Decides whether a job may be queued: config, model, datasets, their shapes, and whether any live worker can run the
// model. What is refused here never costs a worker's time. Used by JobService. Thread-safe.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "pactory/v1/job.pb.h"
#include "pactory/v1/model.pb.h"
#include "pactory/v1/worker.pb.h"
#include "storage/dataset_store.h"
#include "storage/model_store.h"
#include "storage/worker_store.h"

namespace pactory {

class JobAdmission {
 public:
  JobAdmission(ModelStore* models, DatasetStore* datasets, WorkerStore* workers)
      : models_(*models), datasets_(*datasets), workers_(*workers) {}

  /// Checks a spec and fills its defaults in. INVALID_ARGUMENT names the first field at fault; NOT_FOUND a missing
  /// model or dataset.
  absl::Status Complete(const std::string& tenant_id, v1::JobSpec& spec);

 private:
  ModelStore& models_;
  DatasetStore& datasets_;
  WorkerStore& workers_;
};

/// INVALID_ARGUMENT with reason `UNSUPPORTED_OP`, listing every op that none of the workers supports, with its nodes.
/// OK where no worker has said what it supports.
absl::Status CheckOps(const v1::Model& model, const std::vector<v1::WorkerCapabilities>& workers);

/// INVALID_ARGUMENT naming `field`, with reason `BAD_DATA`, where a dataset's arrays are not those of the model's inputs, or a tar is to feed more than one input;
/// OK where the arrays are not known. `preprocess` is that of the job's config, and what is wrong with its `inputs` is named too.
absl::Status CheckInputs(absl::string_view field, const v1::Model& model, const v1::Dataset& dataset,
                         const v1::PreprocessConfig& preprocess);

}  // namespace pactory

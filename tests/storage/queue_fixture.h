// A database with a model, datasets, workers and the stores of the queue, for the tests of jobs and leases.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/ids.h"
#include "storage/blob_store.h"
#include "storage/dataset_store.h"
#include "storage/job_store.h"
#include "storage/lease_store.h"
#include "storage/metric_store.h"
#include "storage/model_store.h"
#include "storage/worker_store.h"
#include "tests/postgres/test_database.h"

namespace pactory {

class QueueTest : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    jobs_ = std::make_unique<JobStore>(database_.get());
    leases_ = std::make_unique<LeaseStore>(database_.get(), absl::Seconds(30), absl::Seconds(10));
    metrics_ = std::make_unique<MetricStore>(database_.get());
    workers_ = std::make_unique<WorkerStore>(database_.get());
    spec_ = SpecOf(tenant_);
    worker_ = NewWorker();
  }

  /// Makes a model and a dataset of a tenant and returns a spec that uses them.
  v1::JobSpec SpecOf(const std::string& tenant_id) {
    v1::Model model;
    model.set_blob("blobs/" + NewBlob(tenant_id, "model"));
    const auto made = ModelStore(database_.get()).Create(tenant_id, model, {});
    EXPECT_TRUE(made.ok()) << made.status();
    v1::Dataset data;
    data.set_blob("blobs/" + NewBlob(tenant_id, "data"));
    data.set_format(v1::Dataset::NPZ);
    const auto dataset = DatasetStore(database_.get()).Create(tenant_id, data, {});
    EXPECT_TRUE(dataset.ok()) << dataset.status();
    v1::JobSpec spec;
    spec.set_model(made->name());
    spec.set_train_dataset(dataset->name());
    spec.set_eval_dataset(dataset->name());
    spec.set_max_attempts(3);
    spec.mutable_deadline()->set_seconds(3600);
    return spec;
  }

  std::string NewWorker() {
    const std::string id = NewUuid();
    v1::Worker worker;
    worker.set_display_name("test");
    EXPECT_TRUE(workers_->Register(id, worker).ok());
    return id;
  }

  /// Queues a job and returns its id.
  std::string NewJob(int priority = 0) {
    v1::Job job;
    *job.mutable_spec() = spec_;
    job.mutable_spec()->set_priority(priority);
    const auto made = jobs_->Create(tenant_, job, {});
    EXPECT_TRUE(made.ok()) << made.status();
    return IdOf("jobs", made->name());
  }

  /// Leases the next job, which must be there.
  LeaseRef Claim() {
    const auto lease = leases_->Claim(worker_);
    EXPECT_TRUE(lease.ok() && lease->has_value()) << lease.status();
    if (!lease.ok() || !lease->has_value()) return {};
    return {IdOf("jobs", (*lease)->token().job()), (*lease)->token().fence()};
  }

  void Expire(const LeaseRef& lease) {
    Sql("UPDATE job_lease SET lease_until = now() - interval '1 s' WHERE job_id = '" + lease.job_id + "'");
  }

  /// Scans once; returns the jobs that came to `state` by it.
  std::vector<std::string> Reap(v1::Job::State state) {
    const auto reaped = leases_->Reap();
    EXPECT_TRUE(reaped.ok()) << reaped.status();
    std::vector<std::string> ids;
    if (!reaped.ok()) return ids;
    for (const ReapedJob& job : *reaped) {
      if (job.state == state) ids.push_back(job.id);
    }
    return ids;
  }

  /// Ends the pause before another attempt.
  void EndWait() { Sql("UPDATE job_ready SET ready_time = now()"); }

  v1::Job Get(const std::string& id) {
    const auto job = jobs_->Get(tenant_, id);
    EXPECT_TRUE(job.ok()) << job.status();
    return job.ok() ? *job : v1::Job();
  }

  static v1::FinishJobRequest Succeeded() {
    v1::FinishJobRequest request;
    request.mutable_succeeded();
    return request;
  }
  static v1::FinishJobRequest Failed(const std::string& reason) {
    v1::FinishJobRequest request;
    request.mutable_failed()->set_reason(reason);
    request.mutable_failed()->set_message("why");
    return request;
  }
  static v1::FinishJobRequest Cancelled() {
    v1::FinishJobRequest request;
    request.mutable_cancelled();
    return request;
  }

  std::unique_ptr<JobStore> jobs_;
  std::unique_ptr<LeaseStore> leases_;
  std::unique_ptr<MetricStore> metrics_;
  std::unique_ptr<WorkerStore> workers_;
  v1::JobSpec spec_;
  std::string worker_;
};

}  // namespace pactory

// What one tenant has, another one can neither see nor change, nor tell from what does not exist.
#include "base/ids.h"
#include "gtest/gtest.h"
#include "tests/server/server_fixture.h"

namespace pactory {
namespace {

class TenantIsolationTest : public ServerTest {
 protected:
  void SetUp() override {
    ServerTest::SetUp();
    job_request_ = JobRequest(user_);
    v1::Job job;
    ASSERT_TRUE(Call(&v1::JobService::Stub::CreateJob, *jobs_, user_, job_request_, job).ok());
    job_ = job.name();
  }

  // The foreign resource and a missing one must give the same status, but for the name in it.
  template <typename Fn>
  void ExpectAsMissing(const std::string& what, const std::string& foreign, Fn call) {
    const std::string missing = foreign.substr(0, foreign.find('/') + 1) + NewUuid();
    const grpc::Status got = call(foreign);
    const grpc::Status wanted = call(missing);
    EXPECT_EQ(got.error_code(), grpc::StatusCode::NOT_FOUND) << what << ": " << got.error_message();
    EXPECT_EQ(got.error_code(), wanted.error_code()) << what;
    EXPECT_EQ(ReasonOf(got), ReasonOf(wanted)) << what;
    std::string message = got.error_message();
    const size_t at = message.find(foreign);
    if (at != std::string::npos) message.replace(at, foreign.size(), missing);
    EXPECT_EQ(message, wanted.error_message()) << what;
  }

  v1::CreateJobRequest job_request_;
  std::string job_;
};

TEST_F(TenantIsolationTest, ForeignResourcesLookMissing) {
  const std::string model = job_request_.job().spec().model();
  const std::string dataset = job_request_.job().spec().train_dataset();
  ExpectAsMissing("GetModel", model, [&](const std::string& name) {
    v1::GetModelRequest request;
    v1::Model response;
    request.set_name(name);
    return Call(&v1::ModelService::Stub::GetModel, *models_, stranger_, request, response);
  });
  ExpectAsMissing("DeleteModel", model, [&](const std::string& name) {
    v1::DeleteModelRequest request;
    v1::DeleteModelResponse response;
    request.set_name(name);
    return Call(&v1::ModelService::Stub::DeleteModel, *models_, stranger_, request, response);
  });
  ExpectAsMissing("GetDataset", dataset, [&](const std::string& name) {
    v1::GetDatasetRequest request;
    v1::Dataset response;
    request.set_name(name);
    return Call(&v1::DatasetService::Stub::GetDataset, *datasets_, stranger_, request, response);
  });
  ExpectAsMissing("DeleteDataset", dataset, [&](const std::string& name) {
    v1::DeleteDatasetRequest request;
    v1::DeleteDatasetResponse response;
    request.set_name(name);
    return Call(&v1::DatasetService::Stub::DeleteDataset, *datasets_, stranger_, request, response);
  });
  ExpectAsMissing("GetJob", job_, [&](const std::string& name) {
    v1::GetJobRequest request;
    v1::Job response;
    request.set_name(name);
    return Call(&v1::JobService::Stub::GetJob, *jobs_, stranger_, request, response);
  });
  ExpectAsMissing("CancelJob", job_, [&](const std::string& name) {
    v1::CancelJobRequest request;
    v1::Job response;
    request.set_name(name);
    return Call(&v1::JobService::Stub::CancelJob, *jobs_, stranger_, request, response);
  });
  ExpectAsMissing("StopTraining", job_, [&](const std::string& name) {
    v1::StopTrainingRequest request;
    v1::Job response;
    request.set_name(name);
    return Call(&v1::JobService::Stub::StopTraining, *jobs_, stranger_, request, response);
  });
  ExpectAsMissing("ListMetrics", job_, [&](const std::string& name) {
    v1::ListMetricsRequest request;
    v1::ListMetricsResponse response;
    request.set_parent(name);
    return Call(&v1::JobService::Stub::ListMetrics, *jobs_, stranger_, request, response);
  });
  ExpectAsMissing("ListArtifacts", job_, [&](const std::string& name) {
    v1::ListArtifactsRequest request;
    v1::ListArtifactsResponse response;
    request.set_parent(name);
    return Call(&v1::JobService::Stub::ListArtifacts, *jobs_, stranger_, request, response);
  });
  ExpectAsMissing("WatchJob", job_, [&](const std::string& name) {
    v1::WatchJobRequest request;
    request.set_name(name);
    const auto context = Context(stranger_);
    const auto stream = jobs_->WatchJob(context.get(), request);
    v1::WatchJobResponse response;
    EXPECT_FALSE(stream->Read(&response));
    return stream->Finish();
  });
}

TEST_F(TenantIsolationTest, AStrangersJobCanNotUseForeignParts) {
  const v1::CreateJobRequest own = JobRequest(stranger_);
  for (const std::string part : {"model", "train", "eval"}) {
    v1::CreateJobRequest request = own;
    v1::JobSpec& spec = *request.mutable_job()->mutable_spec();
    if (part == "model") spec.set_model(job_request_.job().spec().model());
    if (part == "train") spec.set_train_dataset(job_request_.job().spec().train_dataset());
    if (part == "eval") spec.set_eval_dataset(job_request_.job().spec().eval_dataset());
    v1::Job job;
    const grpc::Status status = Call(&v1::JobService::Stub::CreateJob, *jobs_, stranger_, request, job);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND) << part;
  }
}

TEST_F(TenantIsolationTest, ListsAndStatusHoldOnlyTheCallersOwn) {
  const v1::LeaseJobResponse lease = Lease(NewWorker());
  ASSERT_TRUE(lease.has_lease());
  v1::ListModelsResponse models;
  v1::ListDatasetsResponse datasets;
  v1::ListJobsResponse jobs;
  v1::GetStatusResponse status;
  ASSERT_TRUE(Call(&v1::ModelService::Stub::ListModels, *models_, stranger_, v1::ListModelsRequest(), models).ok());
  ASSERT_TRUE(
      Call(&v1::DatasetService::Stub::ListDatasets, *datasets_, stranger_, v1::ListDatasetsRequest(), datasets).ok());
  ASSERT_TRUE(Call(&v1::JobService::Stub::ListJobs, *jobs_, stranger_, v1::ListJobsRequest(), jobs).ok());
  ASSERT_TRUE(Call(&v1::StatusService::Stub::GetStatus, *status_, stranger_, v1::GetStatusRequest(), status).ok());
  EXPECT_EQ(
      models.models_size() + datasets.datasets_size() + jobs.jobs_size() + status.running_size() + status.jobs_size(),
      0);
  ASSERT_EQ(status.workers_size(), 1);
  EXPECT_EQ(status.workers(0).jobs_size(), 0);
  ASSERT_TRUE(Call(&v1::StatusService::Stub::GetStatus, *status_, user_, v1::GetStatusRequest(), status).ok());
  EXPECT_EQ(status.running_size(), 1);
  EXPECT_EQ(status.workers(0).jobs_size(), 1);
}

TEST_F(TenantIsolationTest, AForeignBlobCanNotBeReadOrMadeAModelOf) {
  v1::GetModelRequest get;
  get.set_name(job_request_.job().spec().model());
  v1::Model model;
  ASSERT_TRUE(Call(&v1::ModelService::Stub::GetModel, *models_, user_, get, model).ok());
  v1::CreateModelRequest create;
  create.mutable_model()->set_blob(model.blob());
  v1::Model stolen;
  EXPECT_EQ(Call(&v1::ModelService::Stub::CreateModel, *models_, stranger_, create, stolen).error_code(),
            grpc::StatusCode::NOT_FOUND);
  v1::ReadRequest read;
  read.set_blob(model.blob());
  const auto context = Context(stranger_);
  const auto stream = blobs_->Read(context.get(), read);
  v1::ReadResponse bytes;
  EXPECT_FALSE(stream->Read(&bytes));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::NOT_FOUND);
}

}  // namespace
}  // namespace pactory

#include <set>
#include <thread>

#include "base/ids.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/sample_files.h"
#include "tests/server/server_fixture.h"

namespace pactory {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class JobServiceTest : public ServerTest {
 protected:
  grpc::Status Create(const v1::CreateJobRequest& request, v1::Job& job) {
    return Call(&v1::JobService::Stub::CreateJob, *jobs_, user_, request, job);
  }
  grpc::Status Create(const v1::CreateJobRequest& request) {
    v1::Job job;
    return Create(request, job);
  }
  std::string FieldAtFault(const v1::CreateJobRequest& request) {
    const grpc::Status status = Create(request);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << status.error_message();
    return FieldOf(status);
  }
};

TEST_F(JobServiceTest, AStoredJobHasEveryDefaultFilledIn) {
  v1::Job job;
  const grpc::Status status = Create(JobRequest(user_), job);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(job.state(), v1::Job::PENDING);
  EXPECT_EQ(job.spec().max_attempts(), 3);
  EXPECT_EQ(job.spec().deadline().seconds(), 24 * 3600);
  EXPECT_EQ(job.spec().config().weights().bits(), 8);
  EXPECT_EQ(job.spec().config().training().steps(), 300);
}

TEST_F(JobServiceTest, NeedsAreCheckedAndFilledIn) {
  v1::CreateJobRequest request = JobRequest(user_);
  v1::Job job;
  ASSERT_TRUE(Create(request, job).ok());
  EXPECT_EQ(job.spec().resources().worker_kind(), v1::Resources::ANY);
  EXPECT_EQ(job.spec().resources().memory_gib(), 0);
  v1::Resources& resources = *request.mutable_job()->mutable_spec()->mutable_resources();
  resources.set_memory_gib(12);
  request.mutable_job()->mutable_spec()->mutable_config()->set_device(v1::QuantizationConfig::CUDA);
  ASSERT_TRUE(Create(request, job).ok());
  EXPECT_EQ(job.spec().resources().worker_kind(), v1::Resources::GPU);
  EXPECT_EQ(job.spec().resources().memory_gib(), 16);
  resources.set_worker_kind(v1::Resources::CPU);
  EXPECT_EQ(FieldAtFault(request), "job.spec.resources.worker_kind");
  resources.set_worker_kind(v1::Resources::GPU);
  resources.set_memory_gib(5000);
  EXPECT_EQ(FieldAtFault(request), "job.spec.resources.memory_gib");
}

TEST_F(JobServiceTest, ATenantAtItsLimitIsToldSo) {
  Sql("UPDATE tenant SET max_queued = 1 WHERE name = 'default'");
  const v1::CreateJobRequest request = JobRequest(user_);
  ASSERT_TRUE(Create(request).ok());
  const grpc::Status refused = Create(request);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonOf(refused), "QUOTA_EXCEEDED");
  EXPECT_FALSE(HasRetryInfo(refused));
  EXPECT_NE(refused.error_message().find("at most 1 queued"), std::string::npos) << refused.error_message();
}

TEST_F(JobServiceTest, EightRacingCallsWithOneRequestIdMakeOneJob) {
  v1::CreateJobRequest request = JobRequest(user_);
  request.set_request_id(NewUuid());
  std::vector<std::string> names(8);
  std::vector<std::thread> clients;
  for (std::string& name : names) {
    clients.emplace_back([&] {
      v1::Job job;
      const grpc::Status status = Create(request, job);
      EXPECT_TRUE(status.ok()) << status.error_message();
      name = job.name();
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), 1);
  EXPECT_EQ(Sql("SELECT count(*) FROM job"), "1");

  request.mutable_job()->mutable_spec()->set_priority(7);
  const grpc::Status other = Create(request);
  EXPECT_EQ(other.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(FieldOf(other), "request_id");
}

TEST_F(JobServiceTest, ModelsAndDatasetsAreMadeOncePerRequestId) {
  v1::WriteResponse blob;
  ASSERT_TRUE(Upload(user_, SmallModel().SerializeAsString(), blob).ok());
  v1::CreateModelRequest request;
  request.mutable_model()->set_blob(blob.blob());
  request.set_request_id(NewUuid());
  v1::Model first;
  v1::Model second;
  ASSERT_TRUE(Call(&v1::ModelService::Stub::CreateModel, *models_, user_, request, first).ok());
  ASSERT_TRUE(Call(&v1::ModelService::Stub::CreateModel, *models_, user_, request, second).ok());
  EXPECT_EQ(first.name(), second.name());
  EXPECT_EQ(first.ops(0).op(), "Conv");
  request.mutable_model()->set_display_name("other");
  EXPECT_EQ(FieldOf(Call(&v1::ModelService::Stub::CreateModel, *models_, user_, request, second)), "request_id");
}

TEST_F(JobServiceTest, ValidateOnlyRunsTheChecksAndStoresNothing) {
  v1::CreateJobRequest request = JobRequest(user_);
  request.set_validate_only(true);
  EXPECT_TRUE(Create(request).ok());
  EXPECT_EQ(Sql("SELECT count(*) FROM job"), "0");
  request.mutable_job()->mutable_spec()->mutable_config()->mutable_weights()->set_bits(9);
  EXPECT_EQ(FieldAtFault(request), "job.spec.config.weights.bits");
}

TEST_F(JobServiceTest, BadFieldsAreNamed) {
  const v1::CreateJobRequest good = JobRequest(user_);
  v1::CreateJobRequest bad = good;
  bad.mutable_job()->mutable_spec()->clear_model();
  EXPECT_EQ(FieldAtFault(bad), "job.spec.model");
  bad = good;
  bad.mutable_job()->mutable_spec()->set_model("models/../../etc");
  EXPECT_EQ(FieldAtFault(bad), "job.spec.model");
  bad = good;
  bad.mutable_job()->mutable_spec()->set_train_dataset(good.job().spec().model());
  EXPECT_EQ(FieldAtFault(bad), "job.spec.train_dataset");
  bad = good;
  bad.mutable_job()->mutable_spec()->set_max_attempts(21);
  EXPECT_EQ(FieldAtFault(bad), "job.spec.max_attempts");
  bad = good;
  bad.mutable_job()->mutable_spec()->mutable_deadline()->set_seconds(-1);
  EXPECT_EQ(FieldAtFault(bad), "job.spec.deadline");
  bad = good;
  bad.set_request_id("x");
  EXPECT_EQ(FieldAtFault(bad), "request_id");
  bad = good;
  bad.mutable_job()->set_display_name(std::string(64, 'n'));
  EXPECT_EQ(FieldAtFault(bad), "job.display_name");
  bad = good;
  bad.mutable_job()->set_display_name(std::string("a\0b", 3));
  EXPECT_EQ(FieldAtFault(bad), "job.display_name");
  bad = good;
  bad.mutable_job()->mutable_spec()->mutable_config()->mutable_training()->set_steps(0);
  EXPECT_EQ(FieldAtFault(bad), "job.spec.config.training.steps");
  bad = good;
  bad.mutable_job()->mutable_spec()->mutable_config()->mutable_activations()->set_bits(1);
  EXPECT_EQ(FieldAtFault(bad), "job.spec.config.activations.bits");
}

TEST_F(JobServiceTest, DataThatDoesNotFitTheModelIsRefused) {
  v1::CreateJobRequest request = JobRequest(user_);
  request.mutable_job()->mutable_spec()->set_eval_dataset(NewDataset(user_, Zip({{"x.npy", Npy("<f4", {8, 3, 5, 4}, 4)}})));
  const grpc::Status status = Create(request);
  EXPECT_EQ(FieldOf(status), "job.spec.eval_dataset");
  EXPECT_EQ(ReasonOf(status), "BAD_DATA");
  EXPECT_NE(status.error_message().find("x=[8,3,5,4] input=[-1,3,4,4]"), std::string::npos) << status.error_message();
}

TEST_F(JobServiceTest, AModelOfSeveralInputsNeedsAnArrayForEach) {
  v1::CreateJobRequest request;
  v1::JobSpec& spec = *request.mutable_job()->mutable_spec();
  spec.set_model(NewModel(user_, TwoInputModel()));
  const std::string x = Npy("<f4", {8, 3, 4, 4}, 4), ids = Npy("<i8", {8, 5}, 8), labels = Npy("<i8", {8}, 8);
  spec.set_train_dataset(NewDataset(user_, Zip({{"x.npy", x}, {"ids.npy", ids}, {"y.npy", labels}})));
  spec.set_eval_dataset(spec.train_dataset());
  ASSERT_TRUE(Create(request).ok()) << Create(request).error_message();
  const auto problem = [&](const std::string& file, v1::Dataset::Format format = v1::Dataset::NPZ) {
    spec.set_eval_dataset(NewDataset(user_, file, format));
    const grpc::Status status = Create(request);
    EXPECT_EQ(FieldOf(status), "job.spec.eval_dataset");
    EXPECT_EQ(ReasonOf(status), "BAD_DATA");
    return status.error_message();
  };
  EXPECT_THAT(problem(Zip({{"x.npy", x}})), HasSubstr("array named ids, for the model's input ids (int64 [-1,-1]): arrays=x"));
  EXPECT_THAT(problem(Zip({{"x.npy", x}, {"ids.npy", Npy("<i4", {8, 5}, 4)}})), HasSubstr("array ids must be int64"));
  EXPECT_THAT(problem(Zip({{"x.npy", x}, {"ids.npy", Npy("<i8", {8}, 8)}})), HasSubstr("ids=[8] input=[-1,-1]"));
  EXPECT_THAT(problem(Zip({{"x.npy", x}, {"ids.npy", ids}, {"label.npy", labels}})), HasSubstr("array label is none of the model's"));
  EXPECT_THAT(problem(Tar({{"a.png", "x"}, {"a.cls", "1"}}), v1::Dataset::TAR), HasSubstr("must be an .npz with an array for each"));
  spec.set_eval_dataset(spec.train_dataset());
  spec.mutable_config()->mutable_preprocess()->add_inputs("ids");
  EXPECT_EQ(FieldAtFault(request), "job.spec.config.preprocess.inputs");
}

TEST_F(JobServiceTest, AugmentationOfAModelWithoutImagesIsRefusedBeforeItIsQueued) {
  v1::CreateJobRequest request = JobRequest(user_);
  v1::JobSpec& spec = *request.mutable_job()->mutable_spec();
  spec.mutable_config()->mutable_preprocess()->mutable_augmentation()->set_horizontal_flip(0.5);
  EXPECT_TRUE(Create(request).ok()) << Create(request).error_message();
  onnx::ModelProto model = SmallModel();
  model.mutable_graph()->mutable_input(0)->mutable_type()->mutable_tensor_type()->mutable_shape()->mutable_dim()->RemoveLast();
  spec.set_model(NewModel(user_, model));
  spec.set_train_dataset(NewDataset(user_, Zip({{"x.npy", Npy("<f4", {8, 3, 4}, 4)}, {"y.npy", Npy("<i8", {8}, 8)}})));
  spec.set_eval_dataset(spec.train_dataset());
  EXPECT_EQ(FieldAtFault(request), "job.spec.config.preprocess.augmentation");
  spec.mutable_config()->mutable_preprocess()->clear_augmentation();
  EXPECT_TRUE(Create(request).ok()) << Create(request).error_message();
}

TEST_F(JobServiceTest, ADatasetTellsItsArrays) {
  v1::GetDatasetRequest request;
  request.set_name(NewDataset(user_, Zip({{"x.npy", Npy("|u1", {8, 3}, 1)}, {"ids.npy", Npy("<i8", {8, 5}, 8)}})));
  v1::Dataset dataset;
  ASSERT_TRUE(Call(&v1::DatasetService::Stub::GetDataset, *datasets_, user_, request, dataset).ok());
  ASSERT_EQ(dataset.arrays_size(), 2);
  EXPECT_EQ(dataset.arrays(0).name(), "x");
  EXPECT_EQ(dataset.arrays(1).element_type(), "int64");
  EXPECT_THAT(dataset.arrays(1).dims(), ElementsAre(8, 5));
}

TEST_F(JobServiceTest, DataOfBeforeItsArraysWereKeptIsTheTrainersToCheck) {
  const v1::CreateJobRequest request = JobRequest(user_);
  Sql("UPDATE dataset SET facts = ''");
  EXPECT_TRUE(Create(request).ok()) << Create(request).error_message();
}

TEST_F(JobServiceTest, LabelsThatAreAskedForMustBeThere) {
  v1::CreateJobRequest request = JobRequest(user_);
  const std::string unlabelled = NewDataset(user_, Zip({{"x.npy", Npy("<f4", {8, 3, 4, 4}, 4)}}));
  request.mutable_job()->mutable_spec()->set_train_dataset(unlabelled);
  request.mutable_job()->mutable_spec()->set_eval_dataset(unlabelled);
  EXPECT_TRUE(Create(request).ok());
  v1::CreateJobRequest bad = request;
  bad.mutable_job()->mutable_spec()->mutable_config()->mutable_training()->set_task_loss_weight(1);
  EXPECT_EQ(FieldAtFault(bad), "job.spec.config.training.task_loss_weight");
  bad = request;
  for (const auto metric : {v1::EvaluationConfig::TOP1, v1::EvaluationConfig::CTC_CHARACTERS, v1::EvaluationConfig::TEXT_HMEAN,
                            v1::EvaluationConfig::COCO_MAP}) {
    bad.mutable_job()->mutable_spec()->mutable_config()->mutable_evaluation()->set_metric(metric);
    EXPECT_EQ(FieldAtFault(bad), "job.spec.config.evaluation.metric") << metric;
  }
}

TEST_F(JobServiceTest, OpsThatNoWorkerRunsAreListedByNode) {
  const v1::CreateJobRequest request = JobRequest(user_);
  NewWorker();
  EXPECT_TRUE(Create(request).ok()) << "a worker that says nothing of its ops refuses nothing";
  NewWorker({"Relu", "Gemm"});
  const grpc::Status status = Create(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(ReasonOf(status), "UNSUPPORTED_OP");
  EXPECT_NE(status.error_message().find("Conv (conv1)"), std::string::npos) << status.error_message();
  NewWorker({"Conv"});
  EXPECT_TRUE(Create(request).ok());
}

TEST_F(JobServiceTest, AModelInUseCanNotBeDeleted) {
  const v1::CreateJobRequest request = JobRequest(user_);
  v1::Job job;
  ASSERT_TRUE(Create(request, job).ok());
  v1::DeleteModelRequest model;
  model.set_name(request.job().spec().model());
  v1::DeleteModelResponse deleted;
  EXPECT_EQ(Call(&v1::ModelService::Stub::DeleteModel, *models_, user_, model, deleted).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
  v1::DeleteDatasetRequest dataset;
  dataset.set_name(request.job().spec().train_dataset());
  v1::DeleteDatasetResponse dataset_deleted;
  EXPECT_EQ(Call(&v1::DatasetService::Stub::DeleteDataset, *datasets_, user_, dataset, dataset_deleted).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
  v1::CancelJobRequest cancel;
  cancel.set_name(job.name());
  ASSERT_TRUE(Call(&v1::JobService::Stub::CancelJob, *jobs_, user_, cancel, job).ok());
  EXPECT_TRUE(Call(&v1::ModelService::Stub::DeleteModel, *models_, user_, model, deleted).ok());
  EXPECT_TRUE(Call(&v1::DatasetService::Stub::DeleteDataset, *datasets_, user_, dataset, dataset_deleted).ok());
}

TEST_F(JobServiceTest, PageTokensAreGoodForTheirListOnly) {
  for (int i = 0; i < 3; ++i) NewModel(user_);
  v1::ListModelsRequest request;
  request.set_page_size(2);
  v1::ListModelsResponse models;
  ASSERT_TRUE(Call(&v1::ModelService::Stub::ListModels, *models_, user_, request, models).ok());
  ASSERT_EQ(models.models_size(), 2);
  v1::ListJobsRequest jobs;
  jobs.set_page_token(models.next_page_token());
  v1::ListJobsResponse listed;
  EXPECT_EQ(FieldOf(Call(&v1::JobService::Stub::ListJobs, *jobs_, user_, jobs, listed)), "page_token");
  request.set_page_token(models.next_page_token());
  ASSERT_TRUE(Call(&v1::ModelService::Stub::ListModels, *models_, user_, request, models).ok());
  EXPECT_EQ(models.models_size(), 1);
  EXPECT_EQ(models.next_page_token(), "");
}

TEST_F(JobServiceTest, BadUploadsBecomeNoModelsOrDatasets) {
  v1::WriteResponse blob;
  ASSERT_TRUE(Upload(user_, "not an onnx file", blob).ok());
  v1::CreateModelRequest model;
  model.mutable_model()->set_blob(blob.blob());
  v1::Model made;
  const grpc::Status bad_model = Call(&v1::ModelService::Stub::CreateModel, *models_, user_, model, made);
  EXPECT_EQ(bad_model.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(ReasonOf(bad_model), "BAD_MODEL");
  v1::CreateDatasetRequest dataset;
  dataset.mutable_dataset()->set_blob(blob.blob());
  v1::Dataset set;
  EXPECT_EQ(FieldOf(Call(&v1::DatasetService::Stub::CreateDataset, *datasets_, user_, dataset, set)), "dataset.format");
  for (const v1::Dataset::Format format : {v1::Dataset::NPZ, v1::Dataset::TAR}) {
    dataset.mutable_dataset()->set_format(format);
    EXPECT_EQ(ReasonOf(Call(&v1::DatasetService::Stub::CreateDataset, *datasets_, user_, dataset, set)), "BAD_DATA");
  }
  EXPECT_EQ(Sql("SELECT (SELECT count(*) FROM model) + (SELECT count(*) FROM dataset)"), "0");
}

}  // namespace
}  // namespace pactory

#include "cli/command_line.h"

#include <gmock/gmock.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/cli/fake_user_services.h"
#include "tests/client/fake_blob_service.h"
#include "tests/client/temporary_folder.h"

namespace pactory {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

// Runs command lines in this process against services in memory.
class CommandLineTest : public testing::Test {
 protected:
  CommandLineTest() {
    for (const char* name : {"PACTORY_SERVER", "PACTORY_TOKEN", "PACTORY_CONFIG"}) unsetenv(name);
    setenv("XDG_CONFIG_HOME", folder_.path().c_str(), 1);
    setenv("XDG_DATA_HOME", folder_.path().c_str(), 1);
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&blobs_);
    builder.RegisterService(&models_);
    builder.RegisterService(&jobs_);
    server_ = builder.BuildAndStart();
    address_ = absl::StrCat("127.0.0.1:", port);
  }

  // Runs `pactory <words>`; fills out_ and err_.
  int Run(std::vector<std::string> words) {
    words.insert(words.begin(), "pactory");
    std::vector<const char*> argv;
    for (const std::string& word : words) argv.push_back(word.c_str());
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    const int code = RunCommandLine(static_cast<int>(argv.size()), argv.data());
    out_ = testing::internal::GetCapturedStdout();
    err_ = testing::internal::GetCapturedStderr();
    return code;
  }
  v1::WatchJobResponse Event(int64_t sequence, v1::Job::State state) {
    v1::WatchJobResponse event;
    event.set_sequence(sequence);
    event.mutable_job()->set_name("jobs/1");
    event.mutable_job()->set_state(state);
    return event;
  }

  TemporaryFolder folder_;
  FakeBlobService blobs_;
  FakeModelService models_;
  FakeJobService jobs_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_, out_, err_;
};

TEST_F(CommandLineTest, ModelIsUploadedOnceAndNamed) {
  const std::string file = folder_.Write("m.onnx", "some bytes");
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(Run({"models", "upload", file, "--server", address_}), 0) << err_;
    EXPECT_EQ(out_, "models/5f0e8f6a-9c1d-4c8e-9a51-0d3c5a0f7a11\n");
  }
  EXPECT_TRUE(blobs_.HasBlob("some bytes"));
  EXPECT_EQ(blobs_.bytes_received(), 10);
}

TEST_F(CommandLineTest, JsonIsOnStandardOutputAlone) {
  const std::string file = folder_.Write("m.onnx", "some bytes");
  ASSERT_EQ(Run({"models", "upload", file, "--server", address_, "--output", "json"}), 0);
  EXPECT_THAT(out_, StartsWith("{"));
  EXPECT_THAT(out_, HasSubstr("\"display_name\": \"m.onnx\""));
  EXPECT_THAT(err_, HasSubstr("uploaded m.onnx"));
}

TEST_F(CommandLineTest, FieldThatTheServerNamesIsShown) {
  EXPECT_EQ(Run({"models", "show", "models/x", "--server", address_}), 2);
  EXPECT_EQ(err_, "pactory: name: must be models/{id}: models/x\n");
}

TEST_F(CommandLineTest, EmptyAndMissingFilesAreUsageErrors) {
  EXPECT_EQ(Run({"models", "upload", folder_.Write("empty.onnx", ""), "--server", address_}), 2);
  EXPECT_THAT(err_, HasSubstr("empty.onnx: the file is empty"));
  EXPECT_EQ(Run({"models", "upload", folder_ / "none.onnx", "--server", address_}), 2);
  EXPECT_THAT(err_, HasSubstr("none.onnx: no such file"));
  EXPECT_EQ(Run({"models", "upload", folder_.path(), "--server", address_}), 2);
  EXPECT_THAT(err_, HasSubstr("regular file"));
}

TEST_F(CommandLineTest, AnotherToolsConfigBecomesOneThatConfigTakes) {
  const std::string theirs = folder_.Write("quant.yml", "{'weight_bits': 4, 'is_full_quantize': True, 'moving_rate': 0.95}");
  ASSERT_EQ(Run({"config", "convert", "--from", "paddleslim", theirs}), 0) << err_;
  EXPECT_THAT(out_, StartsWith("# is_full_quantize: "));
  EXPECT_THAT(out_, HasSubstr("  bits: 4\n"));
  const std::string ours = folder_.Write("ours.yaml", out_);
  const std::string id = "/5f0e8f6a-9c1d-4c8e-9a51-0d3c5a0f7a11";
  ASSERT_EQ(Run({"jobs", "submit", "--model", "models" + id, "--data", "datasets" + id, "--eval-data", "datasets" + id, "--config",
                 ours, "--server", address_}),
            0)
      << err_;
  EXPECT_EQ(jobs_.created.back().job().spec().config().activations().moving_rate(), 0.95);
  EXPECT_EQ(Run({"config", "convert", "--from", "paddleslim", folder_.Write("bad.yml", "weight_bitz: 4")}), 2);
  EXPECT_THAT(err_, HasSubstr("bad.yml: weight_bitz: "));
  EXPECT_EQ(Run({"config", "convert", "--from", "paddleslim", "/nonexistent.yml"}), 2);
}

TEST_F(CommandLineTest, WatchResumesWhereTheStreamWasCut) {
  jobs_.events = {Event(1, v1::Job::PENDING), Event(2, v1::Job::RUNNING), Event(3, v1::Job::SUCCEEDED)};
  EXPECT_EQ(Run({"jobs", "watch", "jobs/1", "--server", address_, "--output", "json"}), 0) << err_;
  EXPECT_THAT(jobs_.asked_after, ElementsAre(0, 1, 2));
  EXPECT_EQ(std::count(out_.begin(), out_.end(), '\n'), 3);
}

TEST_F(CommandLineTest, WatchOfAFailedJobHasItsOwnExitCodeAndTellsWhy) {
  v1::WatchJobResponse end = Event(1, v1::Job::FAILED);
  end.mutable_job()->mutable_error()->set_reason("BAD_DATA");
  end.mutable_job()->mutable_error()->set_message("x holds a NaN");
  jobs_.events = {end};
  EXPECT_EQ(Run({"jobs", "watch", "jobs/1", "--server", address_}), 1);
  EXPECT_THAT(err_, HasSubstr("FAILED: BAD_DATA: x holds a NaN"));
}

TEST_F(CommandLineTest, SubmissionIsRepeatedUnderOneRequestId) {
  jobs_.failures = 2;
  const std::string id = "/5f0e8f6a-9c1d-4c8e-9a51-0d3c5a0f7a11";
  ASSERT_EQ(
      Run({"jobs", "submit", "--model", "models" + id, "--data", "datasets" + id, "--eval-data", "datasets" + id,
           "--preset", "pact_int8", "--set", "training.steps=7", "--set", "training.steps=9", "--server", address_}),
      0)
      << err_;
  EXPECT_EQ(out_, "jobs/1\n");
  ASSERT_EQ(jobs_.created.size(), 3u);
  EXPECT_EQ(jobs_.created[0].request_id(), jobs_.created[2].request_id());
  EXPECT_EQ(jobs_.created[2].job().spec().config().training().steps(), 9);
  EXPECT_FALSE(jobs_.created[2].job().spec().config().training().has_task_loss_weight()) << "defaults are the server's";
}

TEST_F(CommandLineTest, ReplayQueuesTheSameAgainAndComparesTheModels) {
  jobs_.stored.mutable_spec()->set_model("models/7");
  jobs_.stored.mutable_spec()->mutable_config()->mutable_training()->set_seed(5);
  jobs_.files["jobs/9"] = {{"report.json", "other"}, {"model.int8.onnx", "abc"}};
  jobs_.files["jobs/1"] = {{"model.int8.onnx", "abc"}};
  jobs_.events = {Event(1, v1::Job::SUCCEEDED)};
  ASSERT_EQ(Run({"jobs", "replay", "jobs/9", "--server", address_}), 0) << err_;
  EXPECT_EQ(out_, "same model.int8.onnx: sha256=abc\n");
  ASSERT_EQ(jobs_.created.size(), 1u);
  EXPECT_EQ(jobs_.created[0].job().spec().SerializeAsString(), jobs_.stored.spec().SerializeAsString());
  jobs_.files["jobs/1"] = {{"model.int8.onnx", "def"}};
  EXPECT_EQ(Run({"jobs", "replay", "jobs/9", "--server", address_}), 1);
  EXPECT_THAT(out_, StartsWith("another model.int8.onnx: sha256=def jobs/9=abc"));
  EXPECT_EQ(Run({"jobs", "replay", "jobs/9", "--server", address_, "--output", "json"}), 1);
  EXPECT_THAT(out_, HasSubstr("\"same\": false"));
}

TEST_F(CommandLineTest, WhatCanNotBeRepeatedIsNotReplayed) {
  EXPECT_EQ(Run({"jobs", "replay", "jobs/9", "--server", address_}), 2);
  EXPECT_THAT(err_, HasSubstr("jobs/9: must have published a model.int8.onnx"));
  jobs_.files["jobs/9"] = {{"model.int8.onnx", "abc"}};
  ASSERT_EQ(Run({"jobs", "stop-training", "jobs/9", "--server", address_}), 0) << err_;
  EXPECT_EQ(Run({"jobs", "replay", "jobs/9", "--server", address_}), 2);
  EXPECT_THAT(err_, HasSubstr("stopped"));
  EXPECT_TRUE(jobs_.created.empty());
}

TEST_F(CommandLineTest, WrongConfigIsFoundBeforeAnythingIsSent) {
  const std::string model = folder_.Write("m.onnx", "some bytes");
  const auto submit = [&](const std::string& flag, const std::string& value) {
    return Run(
        {"jobs", "submit", "--model", model, "--data", model, "--eval-data", model, flag, value, "--server", address_});
  };
  EXPECT_EQ(submit("--set", "weights.bits=9"), 2);
  EXPECT_THAT(err_, HasSubstr("weights.bits"));
  EXPECT_EQ(submit("--set", "weights.bit=8"), 2);
  EXPECT_THAT(err_, HasSubstr("weights.bit"));
  EXPECT_EQ(submit("--preset", "pact_int7"), 2);
  EXPECT_THAT(err_, HasSubstr("pact_int8"));
  EXPECT_EQ(submit("--config", folder_.Write("c.yaml", "training: {step: 3}")), 2);
  EXPECT_THAT(err_, HasSubstr("c.yaml"));
  EXPECT_EQ(submit("--config", folder_ / "none.yaml"), 2);
  EXPECT_EQ(submit("--request-id", "abc"), 2);
  EXPECT_EQ(blobs_.bytes_received(), 0);
}

TEST_F(CommandLineTest, ServerThatIsNotThereIsNamedWithItsOwnExitCode) {
  server_->Shutdown();
  EXPECT_EQ(Run({"jobs", "list", "--server", address_, "--patience", "0.2"}), 3);
  EXPECT_THAT(err_, HasSubstr(address_));
}

TEST_F(CommandLineTest, WrongCommandLinesAreUsageErrorsOfOneLine) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{}, {"frobnicate"}, {"jobs"}, {"run"}, {"jobs", "list", "--output", "xml"},
        {"jobs", "list", "--server", "nowhere"}, {"jobs", "list", "--limit", "0"}, {"jobs", "list"}}) {
    EXPECT_EQ(Run(words), 2);
    EXPECT_THAT(err_, StartsWith("pactory: "));
    EXPECT_EQ(std::count(err_.begin(), err_.end(), '\n'), 1) << err_;
  }
}

TEST_F(CommandLineTest, EveryCommandExplainsItself) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"--help"}, {"run", "--help"}, {"jobs", "--help"}, {"jobs", "submit", "--help"},
        {"models", "upload", "--help"}, {"datasets", "upload", "--help"}, {"presets", "--help"}, {"config", "convert", "--help"}, {"status", "--help"},
        {"local", "--help"}, {"local", "up", "--help"}}) {
    EXPECT_EQ(Run(words), 0);
    EXPECT_THAT(out_, HasSubstr("Usage:"));
  }
}

TEST_F(CommandLineTest, PresetPrintedIsAConfigThatIsAccepted) {
  ASSERT_EQ(Run({"presets", "pact_w4a4"}), 0);
  const std::string config = folder_.Write("mine.yaml", out_);
  const std::string id = "/5f0e8f6a-9c1d-4c8e-9a51-0d3c5a0f7a11";
  EXPECT_EQ(Run({"jobs", "submit", "--model", "models" + id, "--data", "datasets" + id, "--eval-data", "datasets" + id,
                 "--config", config, "--server", address_}),
            0)
      << err_;
  EXPECT_EQ(jobs_.created.back().job().spec().config().weights().bits(), 4);
}

}  // namespace
}  // namespace pactory

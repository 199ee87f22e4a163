#include "workers/agent/agent.h"

#include <grpcpp/server_builder.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>

#include "base/ids.h"
#include "tests/client/fake_blob_service.h"
#include "tests/client/temporary_folder.h"
#include "tests/workers/agent/fake_worker_service.h"
#include "tests/workers/agent/stepped_clock.h"

namespace pactory {
namespace {

using testing::HasSubstr;
using testing::Not;

// Whether the kernel lets this user make a network namespace: not an ordinary user inside a chroot.
bool MayLeaveNetwork() {
  const pid_t child = fork();
  if (child == 0) _exit(unshare(CLONE_NEWNET) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0 ? 0 : 1);
  int status = 1;
  waitpid(child, &status, 0);
  return status == 0;
}

// An agent with a scripted trainer against a server in memory.
class AgentTest : public testing::Test {
 protected:
  AgentTest() {
    grpc::ServerBuilder builder;
    builder.RegisterService(&blobs_);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    connection_ = std::make_unique<ServerConnection>(server_->InProcessChannel(grpc::ChannelArguments()), "secret");
    cache_ = *BlobCache::Open(folder_ / "cache", 1 << 30);
  }
  ~AgentTest() override { StopAgent(); }

  void StartAgent(const std::string& mode, int slots = 1) {
    AgentSettings settings;
    settings.worker_id = NewUuid();
    settings.slots = slots;
    settings.run.trainer_command = {
        "/usr/bin/python3", std::string(std::getenv("PACTORY_SOURCE_DIR")) + "/tests/workers/agent/fake_trainer.py",
        mode};
    settings.run.work_folder = folder_.path();
    agent_ = std::make_unique<Agent>(*connection_, *cache_, settings);
    thread_ = std::thread([this] { run_status_ = agent_->Run(); });
  }
  void StopAgent() {
    if (!thread_.joinable()) return;
    agent_->Stop();
    thread_.join();
  }
  v1::Lease AddJob(const std::string& id = "one", int64_t deadline_seconds = 0, const std::string& checkpoint = "") {
    v1::Lease lease;
    lease.mutable_token()->set_job("jobs/" + id);
    lease.mutable_token()->set_fence(7);
    lease.mutable_job()->set_name("jobs/" + id);
    lease.mutable_job()->mutable_spec()->mutable_deadline()->set_seconds(deadline_seconds);
    lease.mutable_model()->set_blob(blobs_.AddBlob("the model"));
    lease.mutable_train_dataset()->set_blob(blobs_.AddBlob("train data"));
    lease.mutable_eval_dataset()->set_blob(blobs_.AddBlob("eval data"));
    if (!checkpoint.empty()) lease.mutable_checkpoint()->set_blob(checkpoint);
    service_.Set([&] { service_.leases.push_back(lease); });
    return lease;
  }
  v1::FinishJobRequest AwaitFinish(size_t count = 1) {
    EXPECT_TRUE(service_.Await([&] { return service_.finished.size() >= count; }));
    StopAgent();
    EXPECT_EQ(service_.finished.size(), count);
    return service_.finished.empty() ? v1::FinishJobRequest() : service_.finished.back();
  }
  bool AwaitTraining() {
    return service_.Await(
        [&] { return !service_.heartbeats.empty() && service_.heartbeats.back().progress().stage() == "train"; });
  }

  TemporaryFolder folder_;
  FakeBlobService blobs_;
  FakeWorkerService service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<ServerConnection> connection_;
  std::unique_ptr<BlobCache> cache_;
  std::unique_ptr<Agent> agent_;
  std::thread thread_;
  absl::Status run_status_;
};

TEST_F(AgentTest, JobIsDoneAndItsFilesArePublished) {
  AddJob();
  StartAgent("succeed");
  const v1::FinishJobRequest finish = AwaitFinish();
  ASSERT_TRUE(finish.has_succeeded()) << finish.DebugString();
  EXPECT_EQ(finish.lease().fence(), 7);
  ASSERT_EQ(finish.succeeded().artifacts_size(), 2);
  EXPECT_EQ(finish.succeeded().artifacts(0).name(), "model.int8.onnx");
  EXPECT_EQ(finish.succeeded().artifacts(0).blob(), "blobs/" + Sha256Hex("int8"));
  EXPECT_EQ(finish.succeeded().artifacts(0).size_bytes(), 4);
  EXPECT_TRUE(blobs_.HasBlob("int8"));
  EXPECT_EQ(service_.authorization, "Bearer secret");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "jobs/one-7"));
  int metrics = 0;
  for (const auto& [batch, request] : service_.metrics) metrics += request.metrics_size();
  EXPECT_EQ(metrics, 3);
  EXPECT_EQ(service_.metrics.begin()->first, 1);
}

TEST_F(AgentTest, ErrorOfTheTrainerIsPassedOn) {
  AddJob();
  StartAgent("error");
  const v1::FinishJobRequest finish = AwaitFinish();
  EXPECT_EQ(finish.failed().reason(), "BAD_DATA");
  EXPECT_EQ(finish.failed().message(), "eval_data: y must be in [0, 2): 7");
}

TEST_F(AgentTest, ReportOfAFailedGateGoesWithTheError) {
  AddJob();
  StartAgent("gate_failed");
  const v1::FinishJobRequest finish = AwaitFinish();
  EXPECT_EQ(finish.failed().reason(), "GATE_FAILED");
  ASSERT_EQ(finish.failed_artifacts_size(), 1);
  EXPECT_EQ(finish.failed_artifacts(0).name(), "report.json");
  EXPECT_EQ(finish.failed_artifacts(0).blob(), "blobs/" + Sha256Hex("{why}"));
  EXPECT_TRUE(blobs_.HasBlob("{why}"));
}

TEST_F(AgentTest, AReportThatIsRefusedDoesNotHoldTheJobsEnd) {
  service_.refuse_artifacts = true;
  AddJob();
  StartAgent("gate_failed");
  const v1::FinishJobRequest finish = AwaitFinish();
  EXPECT_EQ(finish.failed().reason(), "GATE_FAILED");
  EXPECT_EQ(finish.failed_artifacts_size(), 0);
}

TEST_F(AgentTest, TrainerThatExitsWithoutAWordIsNamedWithItsCodeAndLastLine) {
  AddJob();
  StartAgent("exit");
  const v1::FinishJobRequest finish = AwaitFinish();
  EXPECT_EQ(finish.failed().reason(), "TRAINER_DIED");
  EXPECT_THAT(finish.failed().message(), HasSubstr("code 7"));
  EXPECT_THAT(finish.failed().message(), HasSubstr("something broke here"));
}

TEST_F(AgentTest, TrainerKilledAgainAndAgainFailsTheJobNamingTheSignal) {
  AddJob();
  StartAgent("killed");
  const v1::FinishJobRequest finish = AwaitFinish();
  EXPECT_EQ(finish.failed().reason(), "TRAINER_DIED");
  EXPECT_THAT(finish.failed().message(), HasSubstr("signal 9"));
}

TEST_F(AgentTest, TrainerKilledOnceGoesOnFromItsCheckpoint) {
  AddJob();
  StartAgent("killed_once");
  const v1::FinishJobRequest finish = AwaitFinish();
  ASSERT_TRUE(finish.has_succeeded()) << finish.DebugString();
  EXPECT_TRUE(blobs_.HasBlob("resumed"));
}

TEST_F(AgentTest, AJobWhoseCheckpointIsGoneOrDamagedStartsAnew) {
  AddJob("gone", 0, "blobs/" + Sha256Hex("what was collected"));
  StartAgent("count_files");
  ASSERT_TRUE(service_.Await([&] { return service_.finished.size() == 1; }));
  const std::string checkpoint = blobs_.AddBlob("state at 40");
  // The model and the data are in the cache by now, and a download is tried twice.
  blobs_.Corrupt(2);
  AddJob("damaged", 0, checkpoint);
  ASSERT_TRUE(service_.Await([&] { return service_.finished.size() == 2; }));
  AddJob("whole", 0, checkpoint);
  AwaitFinish(3);
  const char* files[] = {"3 files", "3 files", "4 files"};
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(service_.finished[i].has_succeeded()) << service_.finished[i].DebugString();
    EXPECT_EQ(service_.finished[i].succeeded().artifacts(0).blob(), "blobs/" + Sha256Hex(files[i])) << i;
  }
}

TEST_F(AgentTest, AHostThatFailsItsJobsTakesThemMoreAndMoreSlowly) {
  for (const char* id : {"1", "2", "3", "4", "5"}) AddJob(id);
  StartAgent("disk_full");
  const absl::Time start = absl::Now();
  ASSERT_TRUE(service_.Await([&] { return service_.finished.size() == 3; }));
  // Rests of half to all of 1 s and of 2 s.
  EXPECT_GE(absl::Now() - start, absl::Seconds(1.5));
  EXPECT_EQ(service_.finished[0].failed().reason(), "DISK_FULL");
  // The third is of 2 s at least, and a shutdown ends it.
  const absl::Time stop = absl::Now();
  StopAgent();
  EXPECT_LT(absl::Now() - stop, absl::Seconds(1.5));
  EXPECT_EQ(service_.finished.size(), 3u);
}

TEST_F(AgentTest, AHostWithoutAFolderForItsJobsTakesThemSlowlyUntilItHasOne) {
  const std::string in_the_way = folder_ / "jobs";
  std::ofstream(in_the_way) << "no folder";
  for (const char* id : {"1", "2", "3"}) AddJob(id);
  StartAgent("succeed");
  ASSERT_TRUE(service_.Await([&] { return service_.finished.size() == 1; }));
  EXPECT_EQ(service_.finished[0].failed().reason(), "INTERNAL");
  std::filesystem::remove(in_the_way);
  ASSERT_TRUE(service_.Await([&] { return service_.finished.size() == 3; }));
  EXPECT_TRUE(service_.finished[1].has_succeeded() && service_.finished[2].has_succeeded());
}

TEST_F(AgentTest, OutOfMemoryHasItsOwnReason) {
  AddJob();
  StartAgent("out_of_memory");
  EXPECT_EQ(AwaitFinish().failed().reason(), "OUT_OF_MEMORY");
}

TEST_F(AgentTest, CancelEndsAnObedientTrainer) {
  AddJob();
  StartAgent("obedient");
  ASSERT_TRUE(AwaitTraining());
  service_.Set([&] { service_.cancel = true; });
  EXPECT_TRUE(AwaitFinish().has_cancelled());
}

TEST_F(AgentTest, CancelEndsAStubbornTrainerWithinFiveSeconds) {
  AddJob();
  StartAgent("stubborn");
  ASSERT_TRUE(AwaitTraining());
  const absl::Time start = absl::Now();
  service_.Set([&] { service_.cancel = true; });
  EXPECT_TRUE(AwaitFinish().has_cancelled());
  EXPECT_LT(absl::Now() - start, absl::Seconds(5.5));
}

TEST_F(AgentTest, ATrainingThatIsToEndIsToldToTheTrainerAndTheJobIsDone) {
  AddJob();
  StartAgent("stops_training");
  ASSERT_TRUE(AwaitTraining());
  service_.Set([&] { service_.stop_training = true; });
  ASSERT_TRUE(AwaitFinish().has_succeeded());
  EXPECT_TRUE(blobs_.HasBlob("told where to look"));
}

TEST_F(AgentTest, ATrainingThatIsToEndBeforeItBeginsIsToldToItsTrainerToo) {
  service_.stop_training = true;
  AddJob();
  StartAgent("stops_training");
  EXPECT_TRUE(AwaitFinish().has_succeeded());
}

TEST_F(AgentTest, LostLeaseKillsTheTrainerAndKeepsSilent) {
  AddJob();
  StartAgent("stubborn");
  ASSERT_TRUE(AwaitTraining());
  service_.Set([&] { service_.lease_lost = true; });
  EXPECT_TRUE(service_.Await([&] { return true; }));
  for (int i = 0; i < 200 && std::filesystem::exists(folder_ / "jobs/one-7"); ++i)
    absl::SleepFor(absl::Milliseconds(50));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "jobs/one-7"));
  StopAgent();
  EXPECT_TRUE(service_.finished.empty());
  EXPECT_TRUE(service_.released.empty());
}

TEST_F(AgentTest, ShutdownGivesTheLeaseBackWithinFiveSeconds) {
  AddJob();
  StartAgent("stubborn");
  ASSERT_TRUE(AwaitTraining());
  const absl::Time start = absl::Now();
  StopAgent();
  EXPECT_LT(absl::Now() - start, absl::Seconds(5));
  ASSERT_EQ(service_.released.size(), 1u);
  EXPECT_EQ(service_.released[0].lease().fence(), 7);
  EXPECT_TRUE(service_.finished.empty());
}

TEST_F(AgentTest, AJobThatIsAskedForIsGivenBackAndTheAgentGoesOn) {
  AddJob("one");
  StartAgent("obedient");
  ASSERT_TRUE(AwaitTraining());
  service_.Set([&] { service_.release = true; });
  ASSERT_TRUE(service_.Await([&] { return service_.released.size() == 1; }));
  service_.Set([&] {
    service_.release = false;
    service_.heartbeats.clear();
  });
  AddJob("two");
  EXPECT_TRUE(AwaitTraining());
  EXPECT_TRUE(service_.finished.empty());
}

TEST_F(AgentTest, WhatATrainerLeavesIsStoredBeforeItsJobGivesWay) {
  AddJob();
  StartAgent("leaves_checkpoint");
  ASSERT_TRUE(AwaitTraining());
  service_.Set([&] { service_.release = true; });
  size_t stored = 0;
  ASSERT_TRUE(service_.Await([&] {
    stored = service_.checkpoints.size();
    return !service_.released.empty();
  }));
  ASSERT_EQ(stored, 1u);
  EXPECT_EQ(service_.checkpoints[0].checkpoint().step(), 30);
  EXPECT_TRUE(blobs_.HasBlob("state at 30"));
}

TEST_F(AgentTest, WhatATrainerLeavesIsStoredBeforeTheAgentEnds) {
  AddJob();
  StartAgent("leaves_checkpoint");
  ASSERT_TRUE(AwaitTraining());
  StopAgent();
  ASSERT_EQ(service_.checkpoints.size(), 1u);
  EXPECT_EQ(service_.checkpoints[0].checkpoint().step(), 30);
  EXPECT_EQ(service_.released.size(), 1u);
}

TEST_F(AgentTest, OutageIsTrainedThroughAndReportedAfterwards) {
  AddJob();
  StartAgent("succeed");
  service_.Set([&] { service_.away = true; });
  absl::SleepFor(absl::Seconds(1.5));  // the trainer is done by now, and nobody to tell
  EXPECT_TRUE(service_.Await([&] { return service_.finished.empty(); }));
  service_.Set([&] {
    service_.away = false;
    if (service_.leases.empty()) return;
  });
  EXPECT_TRUE(AwaitFinish().has_succeeded());
  int metrics = 0;
  for (const auto& [batch, request] : service_.metrics) metrics += request.metrics_size();
  EXPECT_EQ(metrics, 3);
}

TEST_F(AgentTest, DeadlineFailsTheJob) {
  AddJob("one", 1);
  StartAgent("obedient");
  EXPECT_EQ(AwaitFinish().failed().reason(), "DEADLINE_EXCEEDED");
}

TEST_F(AgentTest, TheTrainerIsToldTheDeadline) {
  AddJob("one", 700);
  StartAgent("deadline");
  ASSERT_TRUE(AwaitFinish().has_succeeded());
  EXPECT_TRUE(blobs_.HasBlob("7"));
}

TEST_F(AgentTest, CheckpointsAreUploadedAndCommitted) {
  AddJob();
  StartAgent("checkpoints");
  ASSERT_TRUE(service_.Await(
      [&] { return !service_.checkpoints.empty() && service_.checkpoints.back().checkpoint().step() == 20; }));
  EXPECT_TRUE(blobs_.HasBlob("state at 20"));
  EXPECT_EQ(service_.checkpoints.back().checkpoint().blob(), "blobs/" + Sha256Hex("state at 20"));
}

TEST_F(AgentTest, TrainerSeesNoTokenNoNetworkAndItsFolder) {
  setenv("PACTORY_TOKEN", "very-secret", 1);
  AddJob();
  StartAgent("environment");
  const v1::FinishJobRequest finish = AwaitFinish();
  unsetenv("PACTORY_TOKEN");
  ASSERT_TRUE(finish.has_succeeded()) << finish.DebugString();
  const auto path = folder_ / "seen";
  Cancellation none;
  v1::BlobRef blob;
  blob.set_blob(finish.succeeded().artifacts(0).blob());
  const auto pin = cache_->Fetch(connection_->Transfer(v1::LeaseToken(), none), blob);
  ASSERT_TRUE(pin.ok());
  const std::string seen = ReadWholeFile(pin->path());
  EXPECT_THAT(seen, Not(HasSubstr("very-secret")));
  EXPECT_THAT(seen, HasSubstr("cwd=" + folder_.path() + "/jobs/one-7"));
  EXPECT_THAT(seen, HasSubstr("fds=0,1,2,3"));
  EXPECT_THAT(seen, testing::ContainsRegex("Max core file size +0 +0"));
  if (MayLeaveNetwork()) {
    EXPECT_THAT(seen, testing::EndsWith("net=lo"));
  }
}

TEST_F(AgentTest, WhatATrainerLeavesRunningDoesNotHoldTheAgent) {
  AddJob();
  StartAgent("orphan");
  EXPECT_TRUE(AwaitFinish().has_succeeded());
}

TEST_F(AgentTest, GarbageOnThePipeIsATrainerThatDied) {
  AddJob();
  StartAgent("garbage");
  EXPECT_EQ(AwaitFinish().failed().reason(), "TRAINER_DIED");
}

TEST_F(AgentTest, FilesOutsideTheJobFolderAreNotPublished) {
  AddJob("one");
  StartAgent("escape");
  EXPECT_EQ(AwaitFinish().failed().reason(), "INTERNAL");
}

TEST_F(AgentTest, LinksOutOfTheJobFolderAreNotFollowed) {
  AddJob("one");
  StartAgent("symlink");
  EXPECT_EQ(AwaitFinish().failed().reason(), "INTERNAL");
  EXPECT_FALSE(blobs_.HasBlob(ReadWholeFile("/etc/passwd")));
}

TEST_F(AgentTest, SlotsRunJobsAtTheSameTime) {
  AddJob("one");
  AddJob("two");
  StartAgent("obedient", 2);
  EXPECT_TRUE(service_.Await([&] {
    std::set<std::string> training;
    for (const auto& beat : service_.heartbeats) {
      if (beat.progress().stage() == "train") training.insert(beat.lease().job());
    }
    return training.size() == 2;
  }));
}

TEST_F(AgentTest, AClockThatIsSetBackStopsNoHeartbeat) {
  AddJob();
  const SteppedClock clock(absl::Minutes(5));
  StartAgent("obedient");
  ASSERT_TRUE(AwaitTraining());
  const size_t beats = service_.heartbeats.size();
  EXPECT_TRUE(service_.Await([&] { return service_.heartbeats.size() >= beats + 5; }));
  EXPECT_FALSE(Cancellation().WaitFor(absl::Milliseconds(20)));
  StopAgent();
}

TEST_F(AgentTest, RefusedTokenEndsTheAgent) {
  service_.refuse_registration = true;
  StartAgent("succeed");
  thread_.join();
  EXPECT_EQ(run_status_.code(), absl::StatusCode::kUnauthenticated);
}

TEST_F(AgentTest, RegistrationWaitsForTheServer) {
  service_.away = true;
  StartAgent("succeed");
  EXPECT_TRUE(service_.Await([&] { return service_.registered.size() >= 2; }));
  service_.Set([&] { service_.away = false; });
  AddJob();
  EXPECT_TRUE(AwaitFinish().has_succeeded());
}

}  // namespace
}  // namespace pactory

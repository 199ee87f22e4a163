#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "cli/client_settings.h"
#include "cli/job_text.h"
#include "cli/local/daemon.h"
#include "cli/local/program.h"
#include "cli/output.h"
#include "cli/progress_line.h"
#include "cli/report_table.h"
#include "cli/upload.h"
#include "tests/client/temporary_folder.h"

namespace pactory {
namespace {

using testing::HasSubstr;
using testing::Not;

class ClientSettingsTest : public testing::Test {
 protected:
  ClientSettingsTest() {
    for (const char* name : {"PACTORY_SERVER", "PACTORY_TOKEN", "PACTORY_TLS_CA"}) unsetenv(name);
    setenv("PACTORY_CONFIG", folder_.Write("client.yaml", "server: file:1\ntoken: file-token\n").c_str(), 1);
  }
  ~ClientSettingsTest() override {
    for (const char* name : {"PACTORY_SERVER", "PACTORY_TOKEN", "PACTORY_CONFIG"}) unsetenv(name);
  }
  TemporaryFolder folder_;
};

TEST_F(ClientSettingsTest, FlagsWinOverTheEnvironmentAndThatOverTheFile) {
  EXPECT_EQ(FindServer({})->target, "file:1");
  setenv("PACTORY_SERVER", "env:1", 1);
  setenv("PACTORY_TOKEN", "env-token", 1);
  EXPECT_EQ(FindServer({})->target, "env:1");
  EXPECT_EQ(FindServer({})->token, "env-token");
  EXPECT_EQ(FindServer({.server = "flag:1"})->target, "flag:1");
}

TEST_F(ClientSettingsTest, TokenOfTheFileGoesToItsOwnServerOnly) {
  EXPECT_EQ(FindServer({})->token, "file-token");
  EXPECT_EQ(FindServer({.server = "file:1"})->token, "file-token");
  EXPECT_EQ(FindServer({.server = "other:1"})->token, "");
}

TEST_F(ClientSettingsTest, WrongFilesAreNamedWithTheirKey) {
  EXPECT_THAT(std::string(ReadClientConfig(folder_.Write("a", "sever: x:1\n")).status().message()), HasSubstr("sever"));
  EXPECT_FALSE(ReadClientConfig(folder_.Write("b", "- 1\n")).ok());
  EXPECT_FALSE(ReadClientConfig(folder_.Write("c", "server: [1\n")).ok());
  setenv("PACTORY_CONFIG", "/nowhere/client.yaml", 1);
  EXPECT_THAT(std::string(FindServer({}).status().message()), HasSubstr("/nowhere/client.yaml"));
}

TEST_F(ClientSettingsTest, WrittenFileIsReadBackAndPrivate) {
  ServerAddress address;
  address.target = "127.0.0.1:7447";
  address.token = "pactory_0: #";
  address.tls_ca = "/a/b.pem";
  ASSERT_TRUE(WriteClientConfig(folder_ / "w.yaml", address).ok());
  const auto read = ReadClientConfig(folder_ / "w.yaml");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->token, address.token);
  EXPECT_EQ(read->tls_ca, address.tls_ca);
  struct stat info {};
  ASSERT_EQ(stat((folder_ / "w.yaml").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST(OutputTest, SizesAndTimesReadWell) {
  EXPECT_EQ(SizeText(0), "0 B");
  EXPECT_EQ(SizeText(1023), "1023 B");
  EXPECT_EQ(SizeText(1536), "1.5 KiB");
  EXPECT_EQ(SizeText(300LL << 20), "300.0 MiB");
  EXPECT_EQ(DurationText(absl::Seconds(59)), "59s");
  EXPECT_EQ(DurationText(absl::Seconds(133)), "2m13s");
  EXPECT_EQ(DurationText(absl::Minutes(62)), "1h02m");
  EXPECT_EQ(DurationText(-absl::Seconds(5)), "0s");
}

TEST(ProgressTest, BarStaysInItsBounds) {
  EXPECT_EQ(Bar(0, 4), "[>   ]");
  EXPECT_EQ(Bar(0.5, 4), "[==> ]");
  EXPECT_EQ(Bar(1, 4), "[====]");
  EXPECT_EQ(Bar(7, 4), "[====]");
  EXPECT_EQ(Bar(-1, 4), "[>   ]");
}

TEST(ProgressTest, TrainingShowsWhatMatters) {
  v1::Job job;
  job.set_state(v1::Job::RUNNING);
  v1::Progress& progress = *job.mutable_progress();
  progress.set_stage("train");
  progress.set_step(120);
  progress.set_total_steps(300);
  progress.set_fraction(0.4);
  progress.set_loss(0.0123);
  progress.set_metric(0.981);
  progress.set_alpha_min(0.8);
  progress.set_alpha_max(6.1);
  progress.set_eta_seconds(80);
  EXPECT_EQ(ProgressText(job, ProgressStyle::kPlain),
            "train 120/300  40%  loss 0.0123  accuracy 98.10%  alpha 0.8..6.1  ETA 1m20s");
  progress.set_metric(-1);
  progress.set_eta_seconds(-1);
  progress.set_alpha_max(0);
  EXPECT_EQ(ProgressText(job, ProgressStyle::kPlain), "train 120/300  40%  loss 0.0123");
}

TEST(ReportTableTest, ShowsWhatIsThereAndBearsAnythingElse) {
  const std::string table = ReportTable(
      R"({"fp32":{"metric":0.99,"interval95":[0.98,0.995]},"deployed":{"metric":0.9875},)"
      R"("size_bytes":{"fp32":1000000,"int8":300000},"agreement":{"top1":0.9985}})");
  EXPECT_THAT(table, HasSubstr("99.00%   95%: 98.00..99.50%"));
  EXPECT_THAT(table, HasSubstr("98.75%"));
  EXPECT_THAT(table, HasSubstr("(30%)"));
  EXPECT_THAT(table, HasSubstr("99.85%"));
  EXPECT_THAT(table, Not(HasSubstr("PTQ")));
  for (const char* text : {"", "[]", "{", R"({"fp32":3,"size_bytes":[],"latency_ms":{"fp32":"x"}})"}) {
    EXPECT_EQ(ReportTable(text), "") << text;
  }
}

TEST(UploadTest, FormatComesFromTheFlagOrTheSuffix) {
  EXPECT_EQ(*DatasetFormatOf("a/train.NPZ", ""), v1::Dataset::NPZ);
  EXPECT_EQ(*DatasetFormatOf("train.bin", "tar"), v1::Dataset::TAR);
  EXPECT_FALSE(DatasetFormatOf("train.bin", "").ok());
}

TEST(ProgramTest, OutputAndFailuresAreReturned) {
  EXPECT_EQ(*RunProgram({{"/bin/echo", "hello"}}), "hello\n");
  const auto failed = RunProgram({{"/bin/sh", "-c", "echo why >&2; exit 3"}});
  EXPECT_THAT(std::string(failed.status().message()), HasSubstr("why"));
  EXPECT_EQ(RunProgram({{"/nowhere/program"}}).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(ProgramTest, TokensOfTheCallerAreNotPassedOn) {
  setenv("PACTORY_TOKEN", "very-secret", 1);
  EXPECT_THAT(*RunProgram({{"/usr/bin/env"}}), Not(HasSubstr("very-secret")));
  unsetenv("PACTORY_TOKEN");
}

TEST(DaemonTest, IsReadyWithItsFileFoundAgainAndStopped) {
  const TemporaryFolder folder;
  const Daemon daemon("sleeper", folder / "pid", folder / "log");
  EXPECT_FALSE(daemon.Find());
  const absl::Status started =
      daemon.Start({{"/bin/sh", "-c", "echo begun; touch " + (folder / "ready") + "; exec sleep 100"}},
                   folder / "ready", absl::Seconds(20));
  ASSERT_TRUE(started.ok()) << started;
  EXPECT_EQ(ReadWholeFile(folder / "log"), "begun\n");
  ASSERT_TRUE(Daemon("sleeper", folder / "pid", folder / "log").Find());
  daemon.Signal(SIGTERM);
  daemon.AwaitEnd(absl::Seconds(10));
  EXPECT_FALSE(daemon.Find());
}

TEST(DaemonTest, OneThatEndsIsExplainedByItsLog) {
  const TemporaryFolder folder;
  const Daemon daemon("sleeper", folder / "pid", folder / "log");
  const absl::Status started =
      daemon.Start({{"/bin/sh", "-c", "echo no such thing >&2; exit 1"}}, folder / "ready", absl::Seconds(20));
  EXPECT_THAT(std::string(started.message()), HasSubstr("no such thing"));
}

TEST(DaemonTest, AnotherProcessWithTheNumberIsNotTakenForIt) {
  const TemporaryFolder folder;
  folder.Write("pid", std::to_string(getpid()) + " 1\n");
  EXPECT_FALSE(Daemon("sleeper", folder / "pid", folder / "log").Find());
}

TEST(DaemonTest, IsAwaitedToTheLastThreadWhichHoldsItsLocks) {
  const TemporaryFolder folder;
  const std::string lock_path = folder.Write("lock", "");
  int release[2];
  ASSERT_EQ(pipe(release), 0);
  const pid_t pid = fork();
  if (pid == 0) {
    flock(open(lock_path.c_str(), O_RDWR), LOCK_EX);
    std::thread([&] {
      char byte;
      close(release[1]);
      while (read(release[0], &byte, 1) < 0) {
      }
      _exit(0);
    }).detach();
    // Of the first thread alone, which makes a zombie of the process.
    syscall(SYS_exit, 0);
  }
  close(release[0]);
  const auto field = [&](size_t number) {
    return std::vector<std::string>(absl::StrSplit(ReadWholeFile("/proc/" + std::to_string(pid) + "/stat"), ' '))[number];
  };
  while (field(2) != "Z") std::this_thread::yield();
  folder.Write("pid", std::to_string(pid) + " " + field(21) + "\n");
  const Daemon daemon("killed", folder / "pid", folder / "log");
  EXPECT_FALSE(daemon.Find());
  const int lock = open(lock_path.c_str(), O_RDWR);
  ASSERT_NE(flock(lock, LOCK_EX | LOCK_NB), 0);
  std::thread releasing([&] {
    // Time enough for one who does not wait to be caught.
    absl::SleepFor(absl::Milliseconds(200));
    close(release[1]);
  });
  daemon.AwaitLastThread();
  EXPECT_EQ(flock(lock, LOCK_EX | LOCK_NB), 0);
  releasing.join();
  close(lock);
  waitpid(pid, nullptr, 0);
}

}  // namespace
}  // namespace pactory

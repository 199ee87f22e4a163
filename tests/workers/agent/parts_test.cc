#include <google/protobuf/util/delimited_message_util.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <sstream>
#include <string>

#include "pactory/v1/trainer.pb.h"
#include "tests/client/temporary_folder.h"
#include "workers/agent/capabilities.h"
#include "workers/agent/job_folder.h"
#include "workers/agent/job_stop.h"
#include "workers/agent/log_tail.h"
#include "workers/agent/message_reader.h"
#include "workers/agent/work_folder.h"

namespace pactory {
namespace {

// A pipe that holds `bytes` and is closed at its writing end.
class FilledPipe {
 public:
  explicit FilledPipe(const std::string& bytes) {
    EXPECT_EQ(pipe(fds_), 0);
    EXPECT_EQ(write(fds_[1], bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    close(fds_[1]);
  }
  ~FilledPipe() { close(fds_[0]); }
  int fd() const { return fds_[0]; }

 private:
  int fds_[2];
};

TEST(MessageReaderTest, MessagesComeInOrderAndThenTheEnd) {
  std::ostringstream bytes;
  for (int step = 0; step < 100; ++step) {
    v1::TrainerEvent event;
    event.mutable_progress()->set_step(step);
    google::protobuf::util::SerializeDelimitedToOstream(event, &bytes);
  }
  const FilledPipe pipe(bytes.str());
  MessageReader reader(pipe.fd());
  v1::TrainerEvent event;
  for (int step = 0; step < 100; ++step) {
    ASSERT_TRUE(*reader.Read(event));
    EXPECT_EQ(event.progress().step(), step);
  }
  EXPECT_FALSE(*reader.Read(event));
}

TEST(MessageReaderTest, CutMessageIsAnError) {
  std::ostringstream bytes;
  v1::TrainerEvent event;
  event.mutable_error()->set_message("a message of some length");
  google::protobuf::util::SerializeDelimitedToOstream(event, &bytes);
  const FilledPipe pipe(bytes.str().substr(0, 12));
  MessageReader reader(pipe.fd());
  EXPECT_EQ(reader.Read(event).status().code(), absl::StatusCode::kDataLoss);
}

TEST(MessageReaderTest, HugeLengthIsRefusedBeforeItIsRead) {
  const FilledPipe pipe("\xff\xff\xff\xff\x07 and more");
  MessageReader reader(pipe.fd());
  v1::TrainerEvent event;
  EXPECT_EQ(reader.Read(event).status().code(), absl::StatusCode::kDataLoss);
}

TEST(LogTailTest, KeepsTheLastLinesCutShort) {
  LogTail tail;
  for (int line = 0; line < 100; ++line) tail.Append("line " + std::to_string(line) + "\n");
  tail.Append("last");
  tail.Append(" words\n  \n");
  EXPECT_EQ(tail.LastLine(), "last words");
  EXPECT_EQ(tail.Text().substr(0, 8), "line 62\n");
  tail.Append(std::string(100000, 'x'));
  EXPECT_EQ(tail.LastLine().size(), 500u);
}

TEST(JobStopTest, StrongestReasonStands) {
  JobStop stop;
  EXPECT_EQ(stop.reason(), StopReason::kNone);
  stop.Request(StopReason::kCancelled);
  stop.Request(StopReason::kShutdown);
  EXPECT_EQ(stop.reason(), StopReason::kCancelled);
  stop.Request(StopReason::kLeaseLost);
  EXPECT_EQ(stop.reason(), StopReason::kLeaseLost);
  EXPECT_TRUE(stop.signal().cancelled());
}

TEST(JobFolderTest, IsGoneAfterwardsAndLeftoversToo) {
  const TemporaryFolder work;
  {
    const auto folder = JobFolder::Make(work.path(), "a-1");
    ASSERT_TRUE(folder.ok());
    EXPECT_TRUE(std::filesystem::is_directory(folder->output()));
  }
  EXPECT_FALSE(std::filesystem::exists(work / "jobs/a-1"));
  std::filesystem::create_directories(work / "jobs/dead-3/output");
  ASSERT_TRUE(RemoveLeftoverJobFolders(work.path()).ok());
  EXPECT_FALSE(std::filesystem::exists(work / "jobs/dead-3"));
}

TEST(WorkFolderTest, IdStaysAndTheFolderHasOneUser) {
  const TemporaryFolder parent;
  std::string id;
  {
    const auto folder = WorkFolder::Open(parent / "w");
    ASSERT_TRUE(folder.ok());
    id = folder->worker_id();
    EXPECT_EQ(WorkFolder::Open(parent / "w").status().code(), absl::StatusCode::kFailedPrecondition);
  }
  EXPECT_EQ(WorkFolder::Open(parent / "w")->worker_id(), id);
}

TEST(CapabilitiesTest, ReadsWhatTheTrainerPrints) {
  const auto capabilities = ParseCapabilities(R"({"version":"0.1.0","ops":["Conv","com.x.Op"],"gpus":["H200"]})");
  ASSERT_TRUE(capabilities.ok());
  EXPECT_EQ(capabilities->version(), "0.1.0");
  EXPECT_EQ(capabilities->ops(1), "com.x.Op");
  EXPECT_EQ(capabilities->gpus(0), "H200");
  for (const char* bad : {"", "[]", "{", R"({"ops":3})"}) EXPECT_FALSE(ParseCapabilities(bad).ok()) << bad;
}

TEST(CapabilitiesTest, MissingTrainerIsNamed) {
  const auto capabilities = FindCapabilities("/nowhere/pactory-trainer");
  EXPECT_EQ(capabilities.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(capabilities.status().message().find("/nowhere/pactory-trainer"), std::string::npos);
}

}  // namespace
}  // namespace pactory

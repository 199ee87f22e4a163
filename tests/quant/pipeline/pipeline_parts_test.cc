#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "quant/pipeline/child_process.h"
#include "quant/pipeline/npy_file.h"
#include "quant/pipeline/progress_meter.h"
#include "quant/pipeline/write_file.h"

namespace pactory::quant {
namespace {

using testing::HasSubstr;

class Recorder : public JobListener {
 public:
  void OnProgress(const v1::Progress& progress) override { messages.push_back(progress); }
  bool StopRequested() const override { return stop; }

  std::vector<v1::Progress> messages;
  bool stop = false;
};

TEST(ProgressMeterTest, FractionNeverFallsAndEndsAtOne) {
  Recorder recorder;
  ProgressMeter meter(recorder);
  meter.Plan("a", 10);
  meter.Plan("left out", 10);
  meter.Plan("b", 10);
  ASSERT_TRUE(meter.Start("a").ok());
  ASSERT_TRUE(meter.Advance(0.5).ok());
  meter.Estimate("b", 1000);
  ASSERT_TRUE(meter.Start("b").ok());
  EXPECT_GT(recorder.messages.back().eta_seconds(), 900);
  ASSERT_TRUE(meter.Advance(1).ok());
  meter.Finish();
  double last = 0;
  for (const v1::Progress& progress : recorder.messages) {
    EXPECT_GE(progress.fraction(), last);
    last = progress.fraction();
  }
  EXPECT_EQ(last, 1);
  ASSERT_EQ(meter.timing().size(), 2u);
  EXPECT_EQ(meter.timing()[1].first, "b");
}

TEST(ProgressMeterTest, ARequestedStopComesBackAsCancelled) {
  Recorder recorder;
  ProgressMeter meter(recorder);
  ASSERT_TRUE(meter.Start("train").ok());
  recorder.stop = true;
  EXPECT_TRUE(absl::IsCancelled(meter.Advance(0.1)));
  EXPECT_TRUE(absl::IsCancelled(meter.Start("export")));
}

TEST(NpyFileTest, ArrayWrittenInPartsReadsBack) {
  const std::string path = testing::TempDir() + "/" + std::to_string(getpid()) + "parts.npy";
  const at::Tensor array = at::randn({5, 2, 3}, at::kFloat);
  auto writer = NpyWriter::Create(path, {5, 2, 3}, at::kFloat);
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE(writer->Append(array.slice(0, 0, 2)).ok());
  ASSERT_TRUE(writer->Append(array.slice(0, 2)).ok());
  ASSERT_TRUE(writer->Finish().ok());
  const auto read = ReadNpy(path);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_TRUE(at::equal(*read, array));
}

TEST(NpyFileTest, EveryTypeIsWrittenAsNumPyNamesIt) {
  const std::string path = testing::TempDir() + "/" + std::to_string(getpid()) + "typed.npy";
  for (const auto& [type, descr] : std::vector<std::pair<at::ScalarType, std::string>>{
           {at::kHalf, "<f2"}, {at::kFloat, "<f4"}, {at::kDouble, "<f8"}, {at::kChar, "|i1"}, {at::kInt, "<i4"}, {at::kLong, "<i8"},
           {at::kByte, "|u1"}, {at::kBool, "|b1"}}) {
    const at::Tensor array = at::tensor({1, 0, 1}).to(type);
    auto writer = NpyWriter::Create(path, {3}, type);
    ASSERT_TRUE(writer.ok()) << writer.status();
    ASSERT_TRUE(writer->Append(array).ok());
    ASSERT_TRUE(writer->Finish().ok());
    std::ifstream file(path, std::ios::binary);
    const std::string content((std::istreambuf_iterator<char>(file)), {});
    EXPECT_NE(content.find("'descr': '" + descr + "'"), std::string::npos) << descr;
    EXPECT_EQ(content.substr(content.size() - array.nbytes()), std::string(static_cast<const char*>(array.data_ptr()), array.nbytes()));
  }
  EXPECT_EQ(NpyWriter::Create(path, {3}, at::kBFloat16).status().code(), absl::StatusCode::kUnimplemented);
}

TEST(NpyFileTest, MissingRowsAndDamagedFilesAreErrors) {
  const std::string path = testing::TempDir() + "/" + std::to_string(getpid()) + "bad.npy";
  auto writer = NpyWriter::Create(path, {4}, at::kFloat);
  ASSERT_TRUE(writer->Append(at::zeros({3})).ok());
  EXPECT_EQ(writer->Finish().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(ReadNpy(path).ok());
  std::ofstream(path, std::ios::binary) << "\x93NUMPY\x01";
  EXPECT_FALSE(ReadNpy(path).ok());
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 8), }\n";
  std::ofstream(path, std::ios::binary) << "\x93NUMPY" << '\x01' << '\0' << static_cast<char>(header.size()) << '\0' << header;
  EXPECT_FALSE(ReadNpy(path).ok());
  EXPECT_FALSE(ReadNpy("/nonexistent.npy").ok());
}

// Not out of memory: a job is not to come back with half the batch.
TEST(WriteFileTest, AFullDiskHasItsOwnReasonAndLeavesNoHalfFile) {
  const std::string path = testing::TempDir() + "/" + std::to_string(getpid()) + "full.json";
  std::filesystem::create_symlink("/dev/full", path);
  const absl::Status full = WriteFile(path, std::string(100000, 'x'));
  EXPECT_EQ(full.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(full), "DISK_FULL");
  EXPECT_THAT(std::string(full.message()), HasSubstr(path));
  EXPECT_FALSE(std::filesystem::is_symlink(path));
  auto array = NpyWriter::Create("/dev/full", {100000}, at::kFloat);
  ASSERT_TRUE(array.ok());
  EXPECT_EQ(ReasonOf(array->Append(at::zeros({100000}))), "DISK_FULL");
  const absl::Status nowhere = WriteFile("/nonexistent/report.json", "x");
  EXPECT_EQ(nowhere.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(nowhere.message()), HasSubstr("No such file"));
}

TEST(ChildProcessTest, SuccessAndFailureWithTheLastWords) {
  EXPECT_TRUE(RunChild({"true"}, nullptr).ok());
  const absl::Status failed = RunChild({"sh", "-c", "echo out; echo no model here >&2; exit 3"}, nullptr);
  EXPECT_EQ(failed.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(failed.message()), HasSubstr("no model here"));
  EXPECT_THAT(std::string(failed.message()), HasSubstr("status 3"));
  const absl::Status killed = RunChild({"sh", "-c", "kill -9 $$"}, nullptr);
  EXPECT_THAT(std::string(killed.message()), HasSubstr("signal 9"));
  EXPECT_TRUE(absl::IsNotFound(RunChild({"/no/such/program"}, nullptr)));
}

TEST(ChildProcessTest, AStopKillsTheChildSoon) {
  const auto start = std::chrono::steady_clock::now();
  EXPECT_TRUE(absl::IsCancelled(RunChild({"sleep", "60"}, [] { return true; })));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

}  // namespace
}  // namespace pactory::quant

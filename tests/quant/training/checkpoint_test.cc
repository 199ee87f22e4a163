#include "quant/training/checkpoint.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "base/sha256.h"

namespace pactory::quant {
namespace {

Checkpoint SampleCheckpoint() {
  return {{"w", at::randn({2, 3})}, {"steps", at::tensor({int64_t{7}}, at::kLong)}, {"empty", at::empty({0, 4})},
          {"scalar", at::tensor(1.5, at::kDouble)}};
}

void ExpectEqual(const Checkpoint& a, const Checkpoint& b) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, tensor] : a) {
    ASSERT_TRUE(b.contains(name)) << name;
    EXPECT_EQ(tensor.scalar_type(), b.at(name).scalar_type()) << name;
    EXPECT_TRUE(at::equal(tensor, b.at(name))) << name;
  }
}

TEST(CheckpointTest, FileHoldsEveryTensorExactly) {
  const std::string path = testing::TempDir() + "/" + std::to_string(getpid()) + "sample.ckpt";
  const Checkpoint checkpoint = SampleCheckpoint();
  ASSERT_TRUE(WriteCheckpoint(checkpoint, path).ok());
  const auto read = ReadCheckpoint(path);
  ASSERT_TRUE(read.ok()) << read.status();
  ExpectEqual(checkpoint, *read);
  EXPECT_FALSE(std::filesystem::exists(path + ".part"));
}

TEST(CheckpointTest, AFullDiskLeavesTheOldFileAndNothingOfTheNewOne) {
  const std::string path = testing::TempDir() + "/" + std::to_string(getpid()) + "full.ckpt";
  const Checkpoint old = SampleCheckpoint();
  ASSERT_TRUE(WriteCheckpoint(old, path).ok());
  std::filesystem::create_symlink("/dev/full", path + ".part");
  const absl::Status full = WriteCheckpoint(SampleCheckpoint(), path);
  EXPECT_NE(full.message().find("No space left"), std::string::npos) << full;
  EXPECT_FALSE(std::filesystem::is_symlink(path + ".part"));
  ExpectEqual(old, *ReadCheckpoint(path));
}

TEST(CheckpointTest, ViewsAreStoredByValue) {
  at::Tensor base = at::arange(12, at::kFloat).reshape({3, 4});
  const auto read = ParseCheckpoint(SerializeCheckpoint({{"t", base.transpose(0, 1)}}));
  ASSERT_TRUE(read.ok());
  EXPECT_TRUE(at::equal(read->at("t"), base.transpose(0, 1)));
}

TEST(CheckpointTest, DamagedFilesAreRefused) {
  const std::string content = SerializeCheckpoint(SampleCheckpoint());
  for (size_t size : {size_t{0}, size_t{5}, size_t{8}, size_t{72}, content.size() / 2, content.size() - 1}) {
    EXPECT_EQ(ParseCheckpoint(content.substr(0, size)).status().code(), absl::StatusCode::kDataLoss) << size;
  }
  for (size_t at : {size_t{0}, size_t{20}, size_t{74}, content.size() - 1}) {
    std::string flipped = content;
    flipped[at] ^= 1;
    EXPECT_EQ(ParseCheckpoint(flipped).status().code(), absl::StatusCode::kDataLoss) << at;
  }
  EXPECT_EQ(ReadCheckpoint("/nonexistent/x.ckpt").status().code(), absl::StatusCode::kNotFound);
}

// The digest is no protection against a file made on purpose: sizes must be checked on their own.
TEST(CheckpointTest, HostileSizesAreRefused) {
  const auto with_digest = [](const std::string& payload) { return "PACTCKP1" + Sha256Hex(payload) + payload; };
  const auto little = [](auto value) { return std::string(reinterpret_cast<const char*>(&value), sizeof(value)); };
  const std::string many = little(uint32_t{0xffffffff});
  const std::string long_name = little(uint32_t{1}) + little(uint32_t{0xffffffff}) + "x";
  const std::string head = little(uint32_t{1}) + little(uint32_t{1}) + "x";
  const std::string bad_type = head + little(uint8_t{9}) + little(uint8_t{0});
  const std::string negative = head + little(uint8_t{0}) + little(uint8_t{1}) + little(int64_t{-1});
  const std::string huge = head + little(uint8_t{0}) + little(uint8_t{1}) + little(int64_t{1} << 40);
  const std::string overflow = head + little(uint8_t{0}) + little(uint8_t{2}) + little(int64_t{1} << 40) + little(int64_t{1} << 40);
  for (const std::string& payload : {many, long_name, bad_type, negative, huge, overflow}) {
    EXPECT_EQ(ParseCheckpoint(with_digest(payload)).status().code(), absl::StatusCode::kDataLoss);
  }
}

}  // namespace
}  // namespace pactory::quant

#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>

#include "base/ids.h"
#include "client/blob_download.h"
#include "client/blob_upload.h"
#include "tests/client/fake_blob_service.h"
#include "tests/client/temporary_folder.h"

namespace pactory {
namespace {

std::string Bytes(size_t count) {
  std::string bytes(count, '\0');
  uint32_t state = 12345;
  for (char& byte : bytes) byte = static_cast<char>((state = state * 1664525u + 1013904223u) >> 24);
  return bytes;
}

class BlobTransferTest : public testing::Test {
 protected:
  BlobTransferTest() {
    grpc::ServerBuilder builder;
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    stub_ = v1::BlobService::NewStub(server_->InProcessChannel(grpc::ChannelArguments()));
  }
  BlobTransfer Transfer(absl::Duration patience = absl::Seconds(20)) {
    return BlobTransfer{.stub = *stub_, .cancellation = cancellation_, .patience = patience};
  }

  TemporaryFolder folder_;
  FakeBlobService service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::BlobService::Stub> stub_;
  Cancellation cancellation_;
};

TEST_F(BlobTransferTest, UploadArrivesWhole) {
  const std::string content = Bytes((5 << 20) + 17);
  const auto file = ExamineFile(folder_.Write("m.onnx", content));
  ASSERT_TRUE(file.ok());
  const auto blob = UploadBlob(Transfer(), *file, NewUuid());
  ASSERT_TRUE(blob.ok()) << blob.status();
  EXPECT_EQ(*blob, "blobs/" + Sha256Hex(content));
  EXPECT_TRUE(service_.HasBlob(content));
}

TEST_F(BlobTransferTest, UploadContinuesAfterCutsWithoutSendingStoredBytesAgain) {
  const std::string content = Bytes(6 << 20);
  const auto file = ExamineFile(folder_.Write("m.onnx", content));
  ASSERT_TRUE(file.ok());
  service_.CutStreams(2, 2 << 20);
  const auto blob = UploadBlob(Transfer(), *file, NewUuid());
  ASSERT_TRUE(blob.ok()) << blob.status();
  EXPECT_TRUE(service_.HasBlob(content));
  EXPECT_EQ(service_.bytes_received(), 6 << 20);
}

TEST_F(BlobTransferTest, EmptyFileIsABlobToo) {
  const auto file = ExamineFile(folder_.Write("empty", ""));
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE(UploadBlob(Transfer(), *file, NewUuid()).ok());
  EXPECT_TRUE(service_.HasBlob(""));
}

TEST_F(BlobTransferTest, FileThatShrankIsRefusedByName) {
  auto file = ExamineFile(folder_.Write("m.onnx", Bytes(3 << 20)));
  ASSERT_TRUE(file.ok());
  folder_.Write("m.onnx", "short");
  const auto blob = UploadBlob(Transfer(), *file, NewUuid());
  EXPECT_EQ(blob.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(blob.status().message().find("m.onnx"), std::string::npos);
}

TEST_F(BlobTransferTest, FileThatChangedIsRefused) {
  auto file = ExamineFile(folder_.Write("m.onnx", "one"));
  ASSERT_TRUE(file.ok());
  folder_.Write("m.onnx", "two");
  EXPECT_EQ(UploadBlob(Transfer(), *file, NewUuid()).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(BlobTransferTest, PatienceEnds) {
  service_.CutStreams(1000, 0);
  auto file = ExamineFile(folder_.Write("m.onnx", "one"));
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(UploadBlob(Transfer(absl::Milliseconds(300)), *file, NewUuid()).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST_F(BlobTransferTest, CancelEndsAWait) {
  service_.CutStreams(1000, 0);
  auto file = ExamineFile(folder_.Write("m.onnx", "one"));
  ASSERT_TRUE(file.ok());
  std::thread canceller([this] { cancellation_.Cancel(); });
  EXPECT_EQ(UploadBlob(Transfer(), *file, NewUuid()).status().code(), absl::StatusCode::kCancelled);
  canceller.join();
}

TEST_F(BlobTransferTest, UploadIdIsTheSameInEveryProcessAndAUuid) {
  const std::string id = StableUploadId(Sha256Hex("abc"));
  EXPECT_TRUE(IsUuid(id)) << id;
  EXPECT_EQ(id, StableUploadId(Sha256Hex("abc")));
  EXPECT_NE(id, StableUploadId(Sha256Hex("abd")));
}

TEST_F(BlobTransferTest, DownloadContinuesAfterCutsWithoutReadingAgain) {
  const std::string content = Bytes(100000);
  const std::string blob = service_.AddBlob(content);
  service_.CutStreams(3, 20000);
  const absl::Status status = DownloadBlob(Transfer(), blob, folder_ / "out");
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(ReadWholeFile(folder_ / "out"), content);
  EXPECT_EQ(service_.bytes_sent(), 100000);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "out.part"));
}

TEST_F(BlobTransferTest, DownloadContinuesWhatAKilledProcessLeft) {
  const std::string content = Bytes(100000);
  const std::string blob = service_.AddBlob(content);
  folder_.Write("out.part", content.substr(0, 60000));
  ASSERT_TRUE(DownloadBlob(Transfer(), blob, folder_ / "out").ok());
  EXPECT_EQ(ReadWholeFile(folder_ / "out"), content);
  EXPECT_EQ(service_.bytes_sent(), 40000);
}

TEST_F(BlobTransferTest, WrongPartIsThrownAwayOnce) {
  const std::string content = Bytes(5000);
  const std::string blob = service_.AddBlob(content);
  folder_.Write("out.part", "not the beginning of it");
  ASSERT_TRUE(DownloadBlob(Transfer(), blob, folder_ / "out").ok());
  EXPECT_EQ(ReadWholeFile(folder_ / "out"), content);
}

TEST_F(BlobTransferTest, BytesWithAnotherDigestNeverAppearUnderTheName) {
  const std::string blob = service_.AddBlob(Bytes(5000));
  service_.Corrupt(2);
  EXPECT_EQ(DownloadBlob(Transfer(), blob, folder_ / "out").code(), absl::StatusCode::kDataLoss);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "out"));
}

TEST_F(BlobTransferTest, MissingBlobIsNotRetried) {
  EXPECT_EQ(DownloadBlob(Transfer(absl::InfiniteDuration()), "blobs/" + Sha256Hex("x"), folder_ / "out").code(),
            absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace pactory

#include <fstream>
#include <optional>

#include "base/ids.h"
#include "base/sha256.h"
#include "gtest/gtest.h"
#include "tests/server/server_fixture.h"

#if defined(__SANITIZE_ADDRESS__)
// Of sanitizer/allocator_interface.h, which not every compiler comes with.
extern "C" size_t __sanitizer_get_current_allocated_bytes();
#endif

namespace pactory {
namespace {

constexpr int64_t kMiB = 1 << 20;

std::string Bytes(size_t size) {
  std::string bytes(size, '\0');
  uint32_t state = 7;
  for (char& c : bytes) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  return bytes;
}

#if defined(__SANITIZE_ADDRESS__)
// AddressSanitizer keeps what was freed resident: there only what is in use can tell.
int64_t MemoryKiB() { return static_cast<int64_t>(__sanitizer_get_current_allocated_bytes() >> 10); }
#else
int64_t MemoryKiB() {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.rfind("VmRSS:", 0) == 0) return std::stoll(line.substr(6));
  }
  return 0;
}
#endif

class BlobServiceTest : public ServerTest {
 protected:
  struct Piece {
    int64_t offset = 0;
    std::string data;
    bool finish = false;
  };

  static v1::WriteRequest Request(const std::string& upload_id, const std::string& content) {
    v1::WriteRequest request;
    request.set_upload_id(upload_id);
    request.set_sha256(Sha256Hex(content));
    request.set_size_bytes(content.size());
    return request;
  }

  // Sends pieces in one stream and returns its status.
  grpc::Status Send(v1::WriteRequest first, const std::vector<Piece>& pieces, v1::WriteResponse& response) {
    const auto context = Context(user_);
    const auto stream = blobs_->Write(context.get(), &response);
    for (const Piece& piece : pieces) {
      first.set_write_offset(piece.offset);
      first.set_data(piece.data);
      first.set_finish_write(piece.finish);
      if (!stream->Write(first)) break;
    }
    stream->WritesDone();
    return stream->Finish();
  }

  grpc::Status Query(const std::string& upload_id, v1::QueryWriteStatusResponse& response) {
    v1::QueryWriteStatusRequest request;
    request.set_upload_id(upload_id);
    return Call(&v1::BlobService::Stub::QueryWriteStatus, *blobs_, user_, request, response);
  }

  grpc::Status Read(const std::string& blob, int64_t offset, int64_t limit, std::string& bytes) {
    v1::ReadRequest request;
    request.set_blob(blob);
    request.set_read_offset(offset);
    request.set_read_limit(limit);
    const auto context = Context(user_);
    const auto stream = blobs_->Read(context.get(), request);
    v1::ReadResponse response;
    bytes.clear();
    while (stream->Read(&response)) {
      EXPECT_EQ(response.offset(), offset + static_cast<int64_t>(bytes.size()));
      EXPECT_LE(response.data().size(), kMiB);
      bytes += response.data();
    }
    return stream->Finish();
  }
};

TEST_F(BlobServiceTest, AnUploadOfOddPiecesComesBackWholeAndInRanges) {
  const std::string content = Bytes(3 * kMiB + 4321);
  v1::WriteResponse response;
  const grpc::Status status = Upload(user_, content, response, 300001);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.blob(), "blobs/" + Sha256Hex(content));
  EXPECT_EQ(response.committed_size(), static_cast<int64_t>(content.size()));
  std::string bytes;
  ASSERT_TRUE(Read(response.blob(), 0, 0, bytes).ok());
  EXPECT_TRUE(bytes == content);
  ASSERT_TRUE(Read(response.blob(), kMiB - 3, 10, bytes).ok());
  EXPECT_EQ(bytes, content.substr(kMiB - 3, 10));
  ASSERT_TRUE(Read(response.blob(), content.size(), 0, bytes).ok());
  EXPECT_EQ(bytes, "");
  EXPECT_EQ(Read(response.blob(), content.size() + 1, 0, bytes).error_code(), grpc::StatusCode::OUT_OF_RANGE);
}

TEST_F(BlobServiceTest, AnUploadCutTwiceAndOverARestartResumes) {
  const std::string content = Bytes(5 * kMiB + 99);
  const std::string upload_id = NewUuid();
  v1::WriteResponse response;
  v1::QueryWriteStatusResponse state;
  EXPECT_EQ(Query(upload_id, state).error_code(), grpc::StatusCode::NOT_FOUND);

  // The first cut is the client's: its stream is cancelled in the middle of a chunk.
  {
    const auto context = Context(user_);
    const auto stream = blobs_->Write(context.get(), &response);
    v1::WriteRequest request = Request(upload_id, content);
    request.set_data(content.substr(0, 2 * kMiB));
    ASSERT_TRUE(stream->Write(request));
    request.set_write_offset(2 * kMiB);
    request.set_data(content.substr(2 * kMiB, 1000));
    ASSERT_TRUE(stream->Write(request));
    while (!Query(upload_id, state).ok() || state.committed_size() < 2 * kMiB) {
    }
    context->TryCancel();
    EXPECT_FALSE(stream->Finish().ok());
  }
  ASSERT_TRUE(Query(upload_id, state).ok());
  EXPECT_EQ(state.committed_size(), 2 * kMiB);
  EXPECT_FALSE(state.complete());

  // The second one is the server's.
  ASSERT_TRUE(Send(Request(upload_id, content), {{2 * kMiB, content.substr(2 * kMiB, kMiB + 5)}}, response).ok());
  EXPECT_EQ(response.committed_size(), 3 * kMiB);
  EXPECT_EQ(response.blob(), "");
  StartServer();

  ASSERT_TRUE(Query(upload_id, state).ok());
  ASSERT_EQ(state.committed_size(), 3 * kMiB);
  const grpc::Status status =
      Send(Request(upload_id, content),
           {{3 * kMiB, content.substr(3 * kMiB, kMiB)}, {4 * kMiB, content.substr(4 * kMiB), true}}, response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.blob(), "blobs/" + Sha256Hex(content));
  std::string bytes;
  ASSERT_TRUE(Read(response.blob(), 0, 0, bytes).ok());
  EXPECT_EQ(Sha256Hex(bytes), Sha256Hex(content));
  ASSERT_TRUE(Query(upload_id, state).ok());
  EXPECT_TRUE(state.complete());
}

TEST_F(BlobServiceTest, BytesThatAreNotThoseOfTheDigestAreRefused) {
  std::string content = Bytes(kMiB + 10);
  v1::WriteRequest request = Request(NewUuid(), content);
  content[7] ^= 1;
  v1::WriteResponse response;
  const grpc::Status status = Send(request, {{0, content, true}}, response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(ReasonOf(status), "DIGEST_MISMATCH");
  EXPECT_EQ(FieldOf(status), "sha256");
  std::string bytes;
  EXPECT_EQ(Read("blobs/" + request.sha256(), 0, 0, bytes).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(BlobServiceTest, WhatTheTenantHasIsNotSentAgain) {
  const std::string content = Bytes(3 * kMiB);
  v1::WriteResponse response;
  ASSERT_TRUE(Upload(user_, content, response).ok());
  // The first message of three is enough.
  ASSERT_TRUE(Send(Request(NewUuid(), content), {{0, content.substr(0, 10)}}, response).ok());
  EXPECT_EQ(response.blob(), "blobs/" + Sha256Hex(content));
}

TEST_F(BlobServiceTest, BadMessagesAreRefusedByName) {
  const std::string content = Bytes(3 * kMiB);
  const v1::WriteRequest good = Request(NewUuid(), content);
  v1::WriteResponse response;
  const auto field_of = [&](const v1::WriteRequest& request, const std::vector<Piece>& pieces) {
    const grpc::Status status = Send(request, pieces, response);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << status.error_message();
    return FieldOf(status);
  };
  v1::WriteRequest bad = good;
  bad.set_upload_id("no-uuid");
  EXPECT_EQ(field_of(bad, {{0, "x"}}), "upload_id");
  bad = good;
  bad.set_sha256("ABC");
  EXPECT_EQ(field_of(bad, {{0, "x"}}), "sha256");
  bad = good;
  bad.set_size_bytes(-1);
  EXPECT_EQ(field_of(bad, {{0, "x"}}), "size_bytes");
  bad.set_size_bytes(int64_t{1} << 60);
  EXPECT_EQ(field_of(bad, {{0, "x"}}), "size_bytes");
  EXPECT_EQ(field_of(good, {{0, std::string(2 * kMiB + 1, 'x')}}), "data");
  EXPECT_EQ(
      field_of(Request(NewUuid(), content), {{0, content.substr(0, 2 * kMiB)}, {2 * kMiB, std::string(kMiB + 1, 'x')}}),
      "data");
  v1::WriteRequest other = good;
  other.set_size_bytes(17);
  EXPECT_EQ(field_of(other, {{0, "x"}}), "upload_id");
  EXPECT_EQ(field_of(good, {{0, content.substr(0, 100), true}}), "finish_write");
  EXPECT_EQ(field_of(good, {}), "upload_id");
  const grpc::Status gap = Send(good, {{5, "x"}}, response);
  EXPECT_EQ(gap.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(ReasonOf(gap), "WRONG_OFFSET");
}

TEST_F(BlobServiceTest, AnEmptyBlobCanBeUploadedAndRead) {
  v1::WriteResponse response;
  ASSERT_TRUE(Upload(user_, "", response).ok());
  std::string bytes = "x";
  ASSERT_TRUE(Read(response.blob(), 0, 0, bytes).ok());
  EXPECT_EQ(bytes, "");
}

TEST_F(BlobServiceTest, MemoryDoesNotGrowWithTheBlob) {
  const std::string content = Bytes(96 * kMiB);
  v1::WriteResponse response;
  ASSERT_TRUE(Upload(user_, content.substr(0, 8 * kMiB), response).ok());
  const int64_t before = MemoryKiB();
  ASSERT_TRUE(Upload(user_, content, response).ok());
  // Client and server share the process here: both together stay within the bound of the server alone.
  EXPECT_LE(MemoryKiB() - before, 32 << 10);
}

}  // namespace
}  // namespace pactory

#include "storage/blob_store.h"

#include <thread>

#include "base/error.h"
#include "base/ids.h"
#include "base/sha256.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/postgres/test_database.h"

namespace pactory {
namespace {

class BlobStoreTest : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    chunks_ = std::make_unique<BlobChunks>(database_->connection_string(), 4);
    blobs_ = std::make_unique<BlobStore>(database_.get(), chunks_.get());
  }

  UploadSpec SpecFor(const std::string& content) const {
    return {.tenant_id = tenant_,
            .upload_id = NewUuid(),
            .sha256 = Sha256Hex(content),
            .size_bytes = static_cast<int64_t>(content.size()),
            .lease = std::nullopt};
  }

  // Stores the chunks from `from` on, at most `count`.
  void Append(const UploadSpec& spec, const std::string& content, int64_t from, int count) {
    for (int64_t offset = from; count-- > 0 && offset < spec.size_bytes; offset += kBlobChunkSize) {
      const absl::Status stored = blobs_->AppendChunk(
          {.tenant_id = tenant_, .upload_id = spec.upload_id, .offset = offset, .lease = std::nullopt},
          absl::string_view(content).substr(offset, kBlobChunkSize));
      ASSERT_TRUE(stored.ok()) << stored;
    }
  }

  static std::string Bytes(size_t size) {
    std::string bytes(size, '\0');
    uint32_t state = 12345;
    for (char& c : bytes) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
    return bytes;
  }

  std::unique_ptr<BlobChunks> chunks_;
  std::unique_ptr<BlobStore> blobs_;
};

TEST_F(BlobStoreTest, ABlobOfSeveralChunksComesBackByRange) {
  const std::string content = Bytes(2 * kBlobChunkSize + 12345);
  const std::string sha256 = NewBlob(tenant_, content);
  const auto blob = blobs_->Find(tenant_, sha256);
  ASSERT_TRUE(blob.ok()) << blob.status();
  EXPECT_EQ(blob->size_bytes, static_cast<int64_t>(content.size()));
  EXPECT_EQ(*blobs_->ReadExactly(*blob, 0, blob->size_bytes), content);
  EXPECT_EQ(*blobs_->ReadExactly(*blob, kBlobChunkSize - 10, 20), content.substr(kBlobChunkSize - 10, 20));
  EXPECT_TRUE(absl::IsOutOfRange(blobs_->ReadExactly(*blob, blob->size_bytes - 1, 2).status()));
  EXPECT_TRUE(absl::IsOutOfRange(blobs_->ReadExactly(*blob, INT64_MAX, INT64_MAX).status()));
  EXPECT_EQ(*blobs_->ReadSome(*blob, blob->size_bytes, 5), "");
  EXPECT_EQ(*blobs_->ReadSome(*blob, -5, 5), "");
}

TEST_F(BlobStoreTest, AnEmptyBlobIsOneToo) {
  const std::string sha256 = NewBlob(tenant_, "");
  EXPECT_EQ(blobs_->Find(tenant_, sha256)->size_bytes, 0);
}

TEST_F(BlobStoreTest, AnUploadGoesOnWhereItStoodAfterARestart) {
  const std::string content = Bytes(3 * kBlobChunkSize + 7);
  const UploadSpec spec = SpecFor(content);
  ASSERT_TRUE(blobs_->BeginUpload(spec).ok());
  Append(spec, content, 0, 2);
  // A new store knows nothing but what the database holds.
  BlobChunks chunks(database_->connection_string(), 1);
  BlobStore restarted(database_.get(), &chunks);
  const auto state = restarted.BeginUpload(spec);
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(state->committed_size, 2 * kBlobChunkSize);
  EXPECT_FALSE(state->complete);
  Append(spec, content, state->committed_size, 2);
  ASSERT_TRUE(restarted.FinishUpload(spec, "").ok());
  EXPECT_EQ(*restarted.ReadExactly(*restarted.Find(tenant_, spec.sha256), 0, spec.size_bytes), content);
}

TEST_F(BlobStoreTest, AChunkAtAnotherOffsetIsRefused) {
  const std::string content = Bytes(2 * kBlobChunkSize);
  const UploadSpec spec = SpecFor(content);
  ASSERT_TRUE(blobs_->BeginUpload(spec).ok());
  for (const int64_t offset : {kBlobChunkSize, 2 * kBlobChunkSize}) {
    const absl::Status stored = blobs_->AppendChunk(
        {.tenant_id = tenant_, .upload_id = spec.upload_id, .offset = offset, .lease = std::nullopt}, "x");
    EXPECT_TRUE(absl::IsAborted(stored));
    EXPECT_EQ(ReasonOf(stored), "WRONG_OFFSET");
  }
  EXPECT_EQ(blobs_->GetUpload(tenant_, spec.upload_id)->committed_size, 0);
}

TEST_F(BlobStoreTest, TwoStreamsOfOneUploadStoreEachChunkOnce) {
  const std::string content = Bytes(8 * kBlobChunkSize);
  const UploadSpec spec = SpecFor(content);
  ASSERT_TRUE(blobs_->BeginUpload(spec).ok());
  std::atomic<int> stored = 0;
  const auto stream = [&] {
    for (int64_t offset = 0; offset < spec.size_bytes; offset += kBlobChunkSize) {
      stored += blobs_
                    ->AppendChunk(
                        {.tenant_id = tenant_, .upload_id = spec.upload_id, .offset = offset, .lease = std::nullopt},
                        absl::string_view(content).substr(offset, kBlobChunkSize))
                    .ok();
    }
  };
  std::thread first(stream);
  std::thread second(stream);
  first.join();
  second.join();
  EXPECT_EQ(stored * kBlobChunkSize, blobs_->GetUpload(tenant_, spec.upload_id)->committed_size);
  EXPECT_EQ(absl::StrCat(stored.load()), Sql("SELECT count(*) FROM blob_chunk"));
}

TEST_F(BlobStoreTest, AWrongDigestIsRefusedAndTheUploadGone) {
  const std::string content = Bytes(100);
  for (const bool from_chunks : {false, true}) {
    UploadSpec spec = SpecFor(content);
    spec.sha256 = std::string(64, 'e');
    ASSERT_TRUE(blobs_->BeginUpload(spec).ok());
    Append(spec, content, 0, 1);
    const absl::Status finished = blobs_->FinishUpload(spec, from_chunks ? "" : Sha256Hex(content));
    EXPECT_TRUE(absl::IsInvalidArgument(finished)) << finished;
    EXPECT_EQ(ReasonOf(finished), "DIGEST_MISMATCH");
    EXPECT_TRUE(absl::IsNotFound(blobs_->GetUpload(tenant_, spec.upload_id).status()));
    EXPECT_TRUE(absl::IsNotFound(blobs_->Find(tenant_, spec.sha256).status()));
  }
  EXPECT_EQ(Sql("SELECT count(*) FROM blob_chunk"), "0");
}

TEST_F(BlobStoreTest, AnUnfinishedBlobCanNotBeFinishedOrFound) {
  const std::string content = Bytes(kBlobChunkSize + 1);
  const UploadSpec spec = SpecFor(content);
  ASSERT_TRUE(blobs_->BeginUpload(spec).ok());
  Append(spec, content, 0, 1);
  EXPECT_EQ(FieldOf(blobs_->FinishUpload(spec, "")), "finish_write");
  EXPECT_TRUE(absl::IsNotFound(blobs_->Find(tenant_, spec.sha256).status()));
}

TEST_F(BlobStoreTest, TwoUploadsOfOneContentBecomeOneBlob) {
  const std::string content = Bytes(1000);
  const UploadSpec first = SpecFor(content);
  const UploadSpec second = SpecFor(content);
  ASSERT_TRUE(blobs_->BeginUpload(first).ok());
  ASSERT_TRUE(blobs_->BeginUpload(second).ok());
  Append(first, content, 0, 1);
  Append(second, content, 0, 1);
  ASSERT_TRUE(blobs_->FinishUpload(first, "").ok());
  ASSERT_TRUE(blobs_->FinishUpload(second, "").ok());
  EXPECT_EQ(Sql("SELECT count(*) FROM blob"), "1");
  EXPECT_EQ(Sql("SELECT count(*) FROM blob_chunk"), "1");
  EXPECT_TRUE(blobs_->GetUpload(tenant_, second.upload_id)->complete);
  // What is there already need not be sent.
  EXPECT_TRUE(blobs_->BeginUpload(SpecFor(content))->complete);
}

TEST_F(BlobStoreTest, AnotherTenantSeesNeitherBlobNorUpload) {
  const std::string content = Bytes(1000);
  const std::string sha256 = NewBlob(tenant_, content);
  const UploadSpec open = SpecFor("other content");
  ASSERT_TRUE(blobs_->BeginUpload(open).ok());
  const std::string other = NewTenant("other");
  EXPECT_TRUE(absl::IsNotFound(blobs_->Find(other, sha256).status()));
  EXPECT_TRUE(absl::IsNotFound(blobs_->GetUpload(other, open.upload_id).status()));
  UploadSpec theirs = SpecFor(content);
  theirs.tenant_id = other;
  EXPECT_FALSE(blobs_->BeginUpload(theirs)->complete);
}

TEST_F(BlobStoreTest, AnUploadIdIsGoodForOneContentOnly) {
  const UploadSpec spec = SpecFor("content");
  ASSERT_TRUE(blobs_->BeginUpload(spec).ok());
  UploadSpec other = SpecFor("other");
  other.upload_id = spec.upload_id;
  EXPECT_EQ(FieldOf(blobs_->BeginUpload(other).status()), "upload_id");
}

TEST_F(BlobStoreTest, ADamagedChunkIsNoticed) {
  const std::string sha256 = NewBlob(tenant_, "some content");
  Sql("UPDATE blob_chunk SET data = set_byte(data, 3, 1)");
  const auto read = blobs_->ReadExactly(*blobs_->Find(tenant_, sha256), 0, 5);
  EXPECT_TRUE(absl::IsDataLoss(read.status())) << read.status();
  EXPECT_EQ(ReasonOf(read.status()), "CHUNK_DAMAGED");
  EXPECT_THAT(std::string(read.status().message()), testing::HasSubstr("blobs/" + sha256));
}

TEST_F(BlobStoreTest, ADamagedBlobIsMendedByTheNextUploadOfItsContent) {
  const std::string content = Bytes(2 * kBlobChunkSize + 12345);
  const std::string sha256 = NewBlob(tenant_, content);
  Sql("INSERT INTO model (tenant_id, display_name, blob_id, facts) SELECT tenant_id, 'm', id, '' FROM blob");
  const BlobInfo blob = *blobs_->Find(tenant_, sha256);
  Sql("UPDATE blob_chunk SET data = set_byte(data, 3, get_byte(data, 3) # 1) WHERE index = 1");
  EXPECT_TRUE(blobs_->BeginUpload(SpecFor(content))->complete) << "nobody knows yet";
  ASSERT_TRUE(absl::IsDataLoss(blobs_->ReadExactly(blob, 0, blob.size_bytes).status()));

  // Two at a time: the second finds it mended.
  const UploadSpec first = SpecFor(content);
  const UploadSpec second = SpecFor(content);
  for (const UploadSpec& upload : {first, second}) {
    EXPECT_FALSE(blobs_->BeginUpload(upload)->complete);
    Append(upload, content, 0, 3);
  }
  for (const UploadSpec& upload : {first, second}) {
    ASSERT_TRUE(blobs_->FinishUpload(upload, "").ok());
    EXPECT_EQ(blobs_->Find(tenant_, sha256)->id, blob.id) << "the model refers to it";
    EXPECT_EQ(*blobs_->ReadExactly(blob, 0, blob.size_bytes), content);
  }
  EXPECT_EQ(Sql("SELECT count(*) FROM blob"), "1");
  EXPECT_EQ(Sql("SELECT count(*) FROM blob_chunk"), "3");
  EXPECT_TRUE(blobs_->BeginUpload(SpecFor(content))->complete);
}

TEST_F(BlobStoreTest, OnlyOldBlobsThatNothingRefersToAreCollected) {
  NewBlob(tenant_, "kept");
  Sql("INSERT INTO model (tenant_id, display_name, blob_id, facts) SELECT tenant_id, 'm', id, '' FROM blob");
  NewBlob(tenant_, "garbage");
  ASSERT_TRUE(blobs_->BeginUpload(SpecFor("never finished")).ok());
  EXPECT_EQ(*blobs_->CollectGarbage(absl::Hours(1)), 0);
  EXPECT_EQ(Sql("SELECT count(*) FROM blob"), "3");
  Sql("UPDATE blob SET use_time = now() - interval '2 h'");
  Sql("UPDATE blob_upload SET update_time = now() - interval '2 h'");
  EXPECT_EQ(*blobs_->CollectGarbage(absl::Hours(1)), 1);
  EXPECT_EQ(Sql("SELECT string_agg(sha256, ',') FROM blob"), Sha256Hex("kept"));
}

}  // namespace
}  // namespace pactory

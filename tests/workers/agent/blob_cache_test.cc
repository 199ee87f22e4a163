#include "workers/agent/blob_cache.h"

#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/client/fake_blob_service.h"
#include "tests/client/temporary_folder.h"

namespace pactory {
namespace {

class BlobCacheTest : public testing::Test {
 protected:
  BlobCacheTest() {
    grpc::ServerBuilder builder;
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    stub_ = v1::BlobService::NewStub(server_->InProcessChannel(grpc::ChannelArguments()));
  }
  std::unique_ptr<BlobCache> Open(int64_t limit) { return *BlobCache::Open(folder_ / "cache", limit); }
  v1::BlobRef Blob(const std::string& content) {
    v1::BlobRef blob;
    blob.set_blob(service_.AddBlob(content));
    blob.set_size_bytes(content.size());
    return blob;
  }
  absl::StatusOr<BlobCache::Pin> Fetch(BlobCache& cache, const v1::BlobRef& blob) {
    return cache.Fetch(BlobTransfer{.stub = *stub_, .cancellation = cancellation_}, blob);
  }
  int FileCount() {
    int count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder_ / "cache")) count += entry.is_regular_file();
    return count;
  }

  TemporaryFolder folder_;
  FakeBlobService service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::BlobService::Stub> stub_;
  Cancellation cancellation_;
};

TEST_F(BlobCacheTest, SecondFetchDownloadsNothing) {
  const auto cache = Open(1000);
  const auto blob = Blob("content");
  for (int i = 0; i < 2; ++i) {
    const auto pin = Fetch(*cache, blob);
    ASSERT_TRUE(pin.ok()) << pin.status();
    EXPECT_EQ(ReadWholeFile(pin->path()), "content");
  }
  EXPECT_EQ(service_.reads(), 1);
}

TEST_F(BlobCacheTest, FileThatRottedIsFetchedAnew) {
  const auto cache = Open(1000);
  const auto blob = Blob("content");
  const std::string path = Fetch(*cache, blob)->path();
  std::ofstream(path) << "c0ntent";
  const auto pin = Fetch(*cache, blob);
  ASSERT_TRUE(pin.ok());
  EXPECT_EQ(ReadWholeFile(path), "content");
  EXPECT_EQ(service_.reads(), 2);
}

TEST_F(BlobCacheTest, LeastRecentlyUsedGoesFirst) {
  const auto cache = Open(250);
  const auto a = Blob(std::string(100, 'a')), b = Blob(std::string(100, 'b')), c = Blob(std::string(100, 'c'));
  const std::string path_a = Fetch(*cache, a)->path();
  const std::string path_b = Fetch(*cache, b)->path();
  ASSERT_TRUE(Fetch(*cache, a).ok());
  ASSERT_TRUE(Fetch(*cache, c).ok());
  EXPECT_TRUE(std::filesystem::exists(path_a));
  EXPECT_FALSE(std::filesystem::exists(path_b));
}

TEST_F(BlobCacheTest, FilesInUseStay) {
  const auto cache = Open(150);
  const auto pin_a = Fetch(*cache, Blob(std::string(100, 'a')));
  const auto pin_b = Fetch(*cache, Blob(std::string(100, 'b')));
  ASSERT_TRUE(pin_a.ok() && pin_b.ok());
  EXPECT_TRUE(std::filesystem::exists(pin_a->path()));
  EXPECT_TRUE(std::filesystem::exists(pin_b->path()));
}

TEST_F(BlobCacheTest, SameBlobForManyThreadsIsDownloadedOnce) {
  const auto cache = Open(1 << 20);
  const auto blob = Blob(std::string(200000, 'x'));
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] { EXPECT_TRUE(Fetch(*cache, blob).ok()); });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(service_.reads(), 1);
  EXPECT_EQ(FileCount(), 1);
}

TEST_F(BlobCacheTest, WrongNamesAreRefused) {
  const auto cache = Open(1000);
  for (const char* name : {"", "blobs/", "blobs/../../etc/passwd", "models/x"}) {
    v1::BlobRef blob;
    blob.set_blob(name);
    EXPECT_EQ(Fetch(*cache, blob).status().code(), absl::StatusCode::kInvalidArgument) << name;
  }
}

}  // namespace
}  // namespace pactory

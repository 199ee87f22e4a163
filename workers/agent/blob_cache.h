// Blobs on the worker's disk: fetched once, verified at every use, least recently used out. Used by runs. Thread-safe.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/statusor.h"
#include "client/blob_transfer.h"
#include "pactory/v1/worker.pb.h"

namespace pactory {

/// A folder of blobs. A blob's file is named by its digest; the file's modification time is its last use.
class BlobCache {
 public:
  /// Keeps a cached file from being removed for as long as it lives.
  class Pin {
   public:
    Pin(BlobCache& cache, std::string name) : cache_(&cache), name_(std::move(name)) {}
    Pin(Pin&& other) noexcept : cache_(other.cache_), name_(std::move(other.name_)) { other.cache_ = nullptr; }
    Pin& operator=(Pin&&) = delete;
    ~Pin();

    /// The file, to be read only.
    std::string path() const;

   private:
    BlobCache* cache_;
    std::string name_;
  };

  /// Opens the folder, making it where it is missing. `limit_bytes` bounds what is kept beyond the blobs in use.
  static absl::StatusOr<std::unique_ptr<BlobCache>> Open(const std::string& folder, int64_t limit_bytes);

  /// Returns the blob's file, downloaded where it is not there or not whole. Errors as of DownloadBlob.
  absl::StatusOr<Pin> Fetch(const BlobTransfer& transfer, const v1::BlobRef& blob);

 private:
  BlobCache(std::string folder, int64_t limit_bytes) : folder_(std::move(folder)), limit_bytes_(limit_bytes) {}
  // Requires: the mutex is held.
  void MakeRoom(int64_t bytes);
  // Only one thread at a time works on a blob's file.
  absl::Status Claim(const std::string& name, const Cancellation& cancellation);

  struct Use {
    int pins = 0;
    bool busy = false;
  };

  const std::string folder_;
  const int64_t limit_bytes_;
  // absl's mutex and its waits go by the system's clock.
  std::mutex mutex_;
  std::condition_variable freed_;
  // Under the mutex.
  std::map<std::string, Use> uses_;
};

}  // namespace pactory

#include "workers/agent/blob_cache.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/ids.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "client/blob_download.h"

namespace pactory {
namespace {

namespace fs = std::filesystem;

struct CachedFile {
  fs::path path;
  std::string blob;
  int64_t bytes;
  fs::file_time_type used;
};

std::vector<CachedFile> FilesOf(const std::string& folder) {
  std::vector<CachedFile> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (!entry.is_regular_file(error)) continue;
    const auto bytes = entry.file_size(error);
    if (error) continue;
    const auto used = entry.last_write_time(error);
    if (error) continue;
    // A blob and its unfinished download ("<digest>.part") have one name and one pin.
    files.push_back({entry.path(), entry.path().stem().string(), static_cast<int64_t>(bytes), used});
  }
  return files;
}

}  // namespace

BlobCache::Pin::~Pin() {
  if (cache_ == nullptr) return;
  const std::lock_guard lock(cache_->mutex_);
  const auto use = cache_->uses_.find(name_);
  if (--use->second.pins == 0 && !use->second.busy) cache_->uses_.erase(use);
}

std::string BlobCache::Pin::path() const { return absl::StrCat(cache_->folder_, "/", name_); }

absl::StatusOr<std::unique_ptr<BlobCache>> BlobCache::Open(const std::string& folder, int64_t limit_bytes) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error)
    return absl::InvalidArgumentError(absl::StrCat("cache-dir: can't be made: ", folder, ": ", error.message()));
  return std::unique_ptr<BlobCache>(new BlobCache(folder, limit_bytes));
}

absl::Status BlobCache::Claim(const std::string& name, const Cancellation& cancellation) {
  std::unique_lock lock(mutex_);
  Use& use = uses_[name];
  ++use.pins;  // keeps the entry while waiting
  // The other thread's end wakes this one; the limit is there for a cancel of this thread's own job.
  while (!freed_.wait_for(lock, std::chrono::milliseconds(200), [&use] { return !use.busy; })) {
    if (cancellation.cancelled()) {
      --use.pins;
      return absl::CancelledError("download cancelled");
    }
  }
  use.busy = true;
  return absl::OkStatus();
}

absl::StatusOr<BlobCache::Pin> BlobCache::Fetch(const BlobTransfer& transfer, const v1::BlobRef& blob) {
  const std::string name = IdOf("blobs", blob.blob());
  if (!IsSha256Hex(name)) return absl::InvalidArgumentError(absl::StrCat("not a blob's name: ", blob.blob()));
  PACTORY_RETURN_IF_ERROR(Claim(name, transfer.cancellation));
  Pin pin(*this, name);
  absl::Status status;
  const auto present = Sha256HexOfFile(pin.path());
  if (!present.ok() || *present != name) {
    std::error_code ignored;
    fs::remove(pin.path(), ignored);
    {
      const std::lock_guard lock(mutex_);
      MakeRoom(blob.size_bytes());
    }
    status = DownloadBlob(transfer, blob.blob(), pin.path());
  }
  if (status.ok()) {
    // The kernel's own "now" is coarse, and two uses within its tick would look like one.
    timespec times[2];
    clock_gettime(CLOCK_REALTIME, &times[0]);
    times[1] = times[0];
    utimensat(AT_FDCWD, pin.path().c_str(), times, 0);
  }
  {
    const std::lock_guard lock(mutex_);
    uses_[name].busy = false;
  }
  freed_.notify_all();
  if (!status.ok()) return status;
  return pin;
}

void BlobCache::MakeRoom(int64_t bytes) {
  std::vector<CachedFile> files = FilesOf(folder_);
  int64_t total = bytes;
  for (const CachedFile& file : files) total += file.bytes;
  std::sort(files.begin(), files.end(), [](const CachedFile& a, const CachedFile& b) { return a.used < b.used; });
  for (const CachedFile& file : files) {
    if (total <= limit_bytes_) return;
    if (uses_.count(file.blob) > 0) continue;
    std::error_code error;
    fs::remove(file.path, error);
    if (!error) total -= file.bytes;
  }
  if (total > limit_bytes_) {
    spdlog::warn("the cache is over its limit, as the running jobs need it: folder={} bytes={} limit={}", folder_,
                 total, limit_bytes_);
  }
}

}  // namespace pactory

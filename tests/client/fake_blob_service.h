// A BlobService in memory that can be told to cut streams. For tests of what uploads and downloads.
#pragma once

#include <algorithm>
#include <map>
#include <string>

#include "absl/synchronization/mutex.h"
#include "base/sha256.h"
#include "pactory/v1/blob.grpc.pb.h"

namespace pactory {

class FakeBlobService : public v1::BlobService::Service {
 public:
  /// The next `cuts` streams end with UNAVAILABLE after `bytes` bytes.
  void CutStreams(int cuts, int64_t bytes) {
    absl::MutexLock lock(&mutex_);
    cuts_ = cuts;
    cut_bytes_ = bytes;
  }
  std::string AddBlob(const std::string& bytes) {
    absl::MutexLock lock(&mutex_);
    const std::string sha256 = Sha256Hex(bytes);
    blobs_[sha256] = bytes;
    return "blobs/" + sha256;
  }
  bool HasBlob(const std::string& bytes) {
    absl::MutexLock lock(&mutex_);
    const auto blob = blobs_.find(Sha256Hex(bytes));
    return blob != blobs_.end() && blob->second == bytes;
  }
  /// Makes Read answer with other bytes than the blob's, `times` times.
  void Corrupt(int times) {
    absl::MutexLock lock(&mutex_);
    corrupt_ = times;
  }
  int64_t bytes_received() {
    absl::MutexLock lock(&mutex_);
    return bytes_received_;
  }
  int64_t bytes_sent() {
    absl::MutexLock lock(&mutex_);
    return bytes_sent_;
  }
  int reads() {
    absl::MutexLock lock(&mutex_);
    return reads_;
  }

  grpc::Status Write(grpc::ServerContext*, grpc::ServerReader<v1::WriteRequest>* reader,
                     v1::WriteResponse* response) override {
    v1::WriteRequest request;
    std::string id, sha256;
    int64_t size = 0;
    int64_t taken = 0;
    while (reader->Read(&request)) {
      absl::MutexLock lock(&mutex_);
      if (id.empty()) {
        id = request.upload_id();
        sha256 = request.sha256();
        size = request.size_bytes();
        if (blobs_.count(sha256) > 0) return Done(sha256, size, response);
      }
      std::string& partial = uploads_[id];
      if (request.write_offset() != static_cast<int64_t>(partial.size())) {
        return grpc::Status(grpc::StatusCode::OUT_OF_RANGE, "write_offset must be the committed size");
      }
      if (cuts_ > 0 && taken + static_cast<int64_t>(request.data().size()) > cut_bytes_) {
        --cuts_;
        return grpc::Status(grpc::StatusCode::UNAVAILABLE, "cut");
      }
      partial += request.data();
      taken += request.data().size();
      bytes_received_ += request.data().size();
      if (!request.finish_write()) continue;
      if (Sha256Hex(partial) != sha256) return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "digest differs");
      blobs_[sha256] = partial;
      return Done(sha256, size, response);
    }
    absl::MutexLock lock(&mutex_);
    response->set_committed_size(uploads_[id].size());
    return grpc::Status::OK;
  }

  grpc::Status QueryWriteStatus(grpc::ServerContext*, const v1::QueryWriteStatusRequest* request,
                                v1::QueryWriteStatusResponse* response) override {
    absl::MutexLock lock(&mutex_);
    const auto upload = uploads_.find(request->upload_id());
    if (upload == uploads_.end()) return grpc::Status(grpc::StatusCode::NOT_FOUND, "no such upload");
    response->set_committed_size(upload->second.size());
    return grpc::Status::OK;
  }

  grpc::Status Read(grpc::ServerContext*, const v1::ReadRequest* request,
                    grpc::ServerWriter<v1::ReadResponse>* writer) override {
    std::string bytes;
    int64_t limit = -1;
    {
      absl::MutexLock lock(&mutex_);
      ++reads_;
      const auto blob = blobs_.find(request->blob().substr(6));
      if (blob == blobs_.end()) return grpc::Status(grpc::StatusCode::NOT_FOUND, "no such blob");
      bytes = blob->second;
      if (corrupt_ > 0 && --corrupt_ >= 0) bytes[0] ^= 1;
      if (cuts_ > 0) {
        --cuts_;
        limit = cut_bytes_;
      }
    }
    int64_t sent = 0;
    v1::ReadResponse response;
    response.set_size_bytes(bytes.size());
    for (int64_t offset = request->read_offset(); offset < static_cast<int64_t>(bytes.size());) {
      if (limit >= 0 && sent >= limit) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "cut");
      response.set_offset(offset);
      response.set_data(bytes.substr(offset, 1000));
      writer->Write(response);
      offset += response.data().size();
      sent += response.data().size();
      absl::MutexLock lock(&mutex_);
      bytes_sent_ += response.data().size();
    }
    return grpc::Status::OK;
  }

 private:
  static grpc::Status Done(const std::string& sha256, int64_t size, v1::WriteResponse* response) {
    response->set_blob("blobs/" + sha256);
    response->set_committed_size(size);
    return grpc::Status::OK;
  }

  absl::Mutex mutex_;
  std::map<std::string, std::string> blobs_;
  std::map<std::string, std::string> uploads_;
  int cuts_ = 0;
  int corrupt_ = 0;
  int64_t cut_bytes_ = 0;
  int64_t bytes_received_ = 0;
  int64_t bytes_sent_ = 0;
  int reads_ = 0;
};

}  // namespace pactory

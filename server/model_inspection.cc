#include "server/model_inspection.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "server/onnx_walk.h"

namespace pactory {
namespace {

// Reads the file in pieces, and skips without reading.
class FileStream final : public google::protobuf::io::CopyingInputStream {
 public:
  FileStream(int64_t size_bytes, const ReadSomeFn& read) : size_bytes_(size_bytes), read_(read) {}

  int Read(void* buffer, int size) override {
    if (offset_ >= size_bytes_) return 0;
    auto bytes = read_(offset_, size);
    if (!bytes.ok()) {
      status_ = bytes.status();
      return -1;
    }
    std::copy(bytes->begin(), bytes->end(), static_cast<char*>(buffer));
    offset_ += static_cast<int64_t>(bytes->size());
    return static_cast<int>(bytes->size());
  }

  int Skip(int count) override {
    const auto skipped = static_cast<int>(std::min<int64_t>(count, size_bytes_ - offset_));
    offset_ += skipped;
    return skipped;
  }

  const absl::Status& status() const { return status_; }

 private:
  const int64_t size_bytes_;
  const ReadSomeFn& read_;
  int64_t offset_ = 0;
  absl::Status status_;
};

absl::Status BadModel(absl::string_view problem) {
  return WithReason(InvalidField("model.blob", problem), "BAD_MODEL");
}

}  // namespace

absl::Status InspectModel(int64_t size_bytes, const ReadSomeFn& read, v1::Model& model) {
  if (size_bytes == 0) return BadModel("must be an ONNX file, and is empty");
  if (size_bytes > std::numeric_limits<int32_t>::max()) {
    return BadModel(absl::StrCat("must be smaller than 2 GiB, the limit of an ONNX file in one piece: ", size_bytes));
  }
  constexpr int kBlockSize = 1 << 20;
  FileStream file(size_bytes, read);
  google::protobuf::io::CopyingInputStreamAdaptor blocks(&file, kBlockSize);
  absl::Status walked;
  {
    google::protobuf::io::CodedInputStream input(&blocks);
    walked = WalkOnnxModel(input, static_cast<int>(size_bytes), model);
  }
  PACTORY_RETURN_IF_ERROR(file.status());
  if (!walked.ok()) return BadModel(walked.message());
  return absl::OkStatus();
}

}  // namespace pactory

#include "quant/data/tar_dataset.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "quant/data/preprocess.h"
#include "quant/data/tar_index.h"

namespace pactory::quant {
namespace {

// How images are brought to one size.
struct ImageLayout {
  int channels = 3;
  int height = 0;
  int width = 0;
  bool bgr = false;
  bool keep_ratio = false;
};

absl::StatusOr<int> SizeOf(const ValueInfo& input, size_t axis, bool given, int value, const char* field) {
  const int64_t size = given ? value : input.dims[axis];
  if (size < 1) {
    return InvalidField(field, given ? absl::StrCat("must be at least 1: value=", value)
                                     : "must be given, as the model leaves this dimension open");
  }
  if (input.dims[axis] > 0 && size != input.dims[axis]) {
    return InvalidField(field, absl::StrCat("must be the model's input size: value=", size,
                                            " input=", input.dims[axis]));
  }
  return static_cast<int>(size);
}

absl::StatusOr<ImageLayout> LayoutOf(const v1::PreprocessConfig& config, const ValueInfo& input) {
  if (!input.rank_known || input.dims.size() != 4 || !at::isFloatingType(input.type)) {
    return absl::InvalidArgumentError(
        absl::StrCat("images need a model whose input is N x C x H x W, of floats: input=", input.name));
  }
  ImageLayout layout;
  layout.channels = input.dims[1] < 0 ? 3 : static_cast<int>(input.dims[1]);
  if (layout.channels != 1 && layout.channels != 3) {
    return absl::InvalidArgumentError(
        absl::StrCat("images need a model whose input has 1 or 3 channels: channels=", input.dims[1]));
  }
  PACTORY_ASSIGN_OR_RETURN(layout.height,
                           SizeOf(input, 2, config.has_height(), config.height(), "preprocess.height"));
  PACTORY_ASSIGN_OR_RETURN(layout.width, SizeOf(input, 3, config.has_width(), config.width(), "preprocess.width"));
  layout.bgr = config.channel_order() == v1::PreprocessConfig::BGR;
  layout.keep_ratio = config.keep_ratio();
  return layout;
}

class TarDataset : public Dataset {
 public:
  TarDataset(MappedFile file, std::vector<TarSample> samples, ImageLayout layout, Preprocess preprocess)
      : file_(std::move(file)), samples_(std::move(samples)), layout_(layout), preprocess_(std::move(preprocess)) {
    if (!samples_[0].label) return;
    std::vector<int64_t> labels;
    for (const TarSample& sample : samples_) labels.push_back(*sample.label);
    labels_ = at::tensor(labels, at::kLong);
  }

  int64_t size() const override { return static_cast<int64_t>(samples_.size()); }
  at::Tensor labels() const override { return labels_; }

  absl::StatusOr<Batch> Read(absl::Span<const int64_t> indices) const override {
    const int64_t count = static_cast<int64_t>(indices.size());
    // What stays 0 is the padding of images narrower than the input.
    at::Tensor x = at::zeros({count, layout_.channels, layout_.height, layout_.width}, at::kFloat);
    for (int64_t index = 0; index < count; ++index) {
      if (indices[index] < 0 || indices[index] >= size()) {
        return absl::InvalidArgumentError(
            absl::StrCat("sample must be in the set: index=", indices[index], " size=", size()));
      }
      PACTORY_ASSIGN_OR_RETURN(const cv::Mat image, Decode(samples_[indices[index]]));
      const at::Tensor pixels = at::from_blob(image.data, {image.rows, image.cols, layout_.channels},
                                              {static_cast<int64_t>(image.step[0]), layout_.channels, 1},
                                              at::TensorOptions().dtype(at::kByte));
      x[index].narrow(2, 0, image.cols).copy_(preprocess_.Apply(pixels.permute({2, 0, 1}).unsqueeze(0))[0]);
    }
    Batch batch{.inputs = {x}};
    if (labels_.defined()) {
      batch.y = at::index_select(labels_, 0, at::tensor(at::ArrayRef<int64_t>(indices.data(), count), at::kLong));
    }
    return batch;
  }

 private:
  // 8-bit pixels in the model's channel order, of the input's height and at most its width.
  absl::StatusOr<cv::Mat> Decode(const TarSample& sample) const {
    cv::Mat image;
    try {
      const cv::Mat encoded(1, static_cast<int>(sample.image.size()), CV_8UC1,
                            const_cast<char*>(sample.image.data()));
      if (!sample.image.empty()) {
        image = cv::imdecode(encoded, layout_.channels == 1 ? cv::IMREAD_GRAYSCALE : cv::IMREAD_COLOR);
      }
      if (image.empty()) {
        return absl::InvalidArgumentError(absl::StrCat("image can't be decoded: sample=", sample.key));
      }
      int width = layout_.width;
      if (layout_.keep_ratio) {
        const double scaled = static_cast<double>(layout_.height) * image.cols / image.rows;
        width = std::clamp(static_cast<int>(std::ceil(scaled)), 1, layout_.width);
      }
      if (image.rows != layout_.height || image.cols != width) {
        cv::resize(image, image, cv::Size(width, layout_.height), 0, 0, cv::INTER_LINEAR);
      }
      if (layout_.channels == 3 && !layout_.bgr) cv::cvtColor(image, image, cv::COLOR_BGR2RGB);
    } catch (const cv::Exception& error) {
      return absl::InvalidArgumentError(
          absl::StrCat("image can't be decoded: sample=", sample.key, " problem=", error.err));
    }
    return image;
  }

  // Holds the memory that samples_ read.
  MappedFile file_;
  std::vector<TarSample> samples_;
  ImageLayout layout_;
  Preprocess preprocess_;
  at::Tensor labels_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Dataset>> OpenTarDataset(MappedFile file, const v1::PreprocessConfig& preprocess,
                                                        const ValueInfo& input) {
  PACTORY_ASSIGN_OR_RETURN(std::vector<TarSample> samples, IndexTar(file.bytes()));
  PACTORY_ASSIGN_OR_RETURN(const ImageLayout layout, LayoutOf(preprocess, input));
  PACTORY_ASSIGN_OR_RETURN(Preprocess ready, Preprocess::Create(preprocess, 1.0 / 255, layout.channels));
  return std::unique_ptr<Dataset>(new TarDataset(std::move(file), std::move(samples), layout, std::move(ready)));
}

}  // namespace pactory::quant

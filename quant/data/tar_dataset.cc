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
#include "quant/data/character_set.h"
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

cv::Mat DecodeImage(absl::string_view bytes, int mode) {
  if (bytes.empty()) return cv::Mat();
  const cv::Mat encoded(1, static_cast<int>(bytes.size()), CV_8UC1, const_cast<char*>(bytes.data()));
  return cv::imdecode(encoded, mode);
}

absl::StatusOr<at::Tensor> ReadLines(const std::vector<TarSample>& samples, absl::string_view characters) {
  PACTORY_ASSIGN_OR_RETURN(const CharacterSet set, CharacterSet::Create(characters));
  PACTORY_RETURN_IF_ERROR(RequireAll(samples, &TarSample::text, ".txt"));
  std::vector<std::vector<int64_t>> lines;
  size_t longest = 0;
  for (const TarSample& sample : samples) {
    absl::StatusOr<std::vector<int64_t>> line = set.Encode(*sample.text);
    if (!line.ok()) return Prefixed(line.status(), absl::StrCat("sample ", sample.key, ": "));
    longest = std::max(longest, line->size());
    lines.push_back(*std::move(line));
  }
  // A label of one character is a sequence too, and no class.
  longest = std::max<size_t>(longest, 2);
  std::vector<int64_t> filled;
  for (std::vector<int64_t>& line : lines) {
    line.resize(longest, -1);
    filled.insert(filled.end(), line.begin(), line.end());
  }
  return at::tensor(filled, at::kLong).reshape({static_cast<int64_t>(lines.size()), static_cast<int64_t>(longest)});
}

// None where the samples have no labels.
absl::StatusOr<at::Tensor> LabelsOfSamples(const std::vector<TarSample>& samples, const v1::PreprocessConfig& preprocess) {
  const bool has_text = std::any_of(samples.begin(), samples.end(), [](const TarSample& sample) { return sample.text.has_value(); });
  if (preprocess.has_characters() && has_text) return ReadLines(samples, preprocess.characters());
  if (!samples[0].label) return at::Tensor();
  std::vector<int64_t> classes;
  for (const TarSample& sample : samples) classes.push_back(*sample.label);
  return at::tensor(classes, at::kLong);
}

class TarDataset : public Dataset {
 public:
  TarDataset(MappedFile file, std::vector<TarSample> samples, ImageLayout layout, Preprocess preprocess, at::Tensor labels,
             std::string mask_target)
      : file_(std::move(file)), samples_(std::move(samples)), layout_(layout), preprocess_(std::move(preprocess)),
        labels_(std::move(labels)), mask_target_(std::move(mask_target)) {}

  int64_t size() const override { return static_cast<int64_t>(samples_.size()); }
  at::Tensor labels() const override { return labels_; }
  std::map<std::string, std::vector<int64_t>> targets() const override {
    if (mask_target_.empty()) return {};
    return {{mask_target_, {1, layout_.height, layout_.width}}};
  }

  absl::StatusOr<Batch> Read(absl::Span<const int64_t> indices) const override {
    const int64_t count = static_cast<int64_t>(indices.size());
    // What stays 0 is the padding of images narrower than the input.
    at::Tensor x = at::zeros({count, layout_.channels, layout_.height, layout_.width}, at::kFloat);
    at::Tensor masks;
    if (!mask_target_.empty()) masks = at::zeros({count, 1, layout_.height, layout_.width}, at::kFloat);
    for (int64_t index = 0; index < count; ++index) {
      if (indices[index] < 0 || indices[index] >= size()) {
        return absl::InvalidArgumentError(
            absl::StrCat("sample must be in the set: index=", indices[index], " size=", size()));
      }
      const TarSample& sample = samples_[indices[index]];
      cv::Size original;
      PACTORY_ASSIGN_OR_RETURN(const cv::Mat image, Decode(sample, original));
      const at::Tensor pixels = PixelsOf(image, layout_.channels);
      x[index].narrow(2, 0, image.cols).copy_(preprocess_.Apply(pixels.permute({2, 0, 1}).unsqueeze(0))[0]);
      if (!masks.defined()) continue;
      PACTORY_ASSIGN_OR_RETURN(const cv::Mat mask, DecodeMask(sample, original, image.cols));
      masks[index][0].narrow(1, 0, mask.cols).copy_(PixelsOf(mask, 1).squeeze(2)).div_(255);
    }
    Batch batch{.inputs = {x}};
    if (labels_.defined()) {
      batch.y = at::index_select(labels_, 0, at::tensor(at::ArrayRef<int64_t>(indices.data(), count), at::kLong));
    }
    if (masks.defined()) batch.targets.emplace(mask_target_, masks);
    return batch;
  }

  absl::StatusOr<SampleRegions> ReadRegions() const override {
    PACTORY_RETURN_IF_ERROR(RequireAll(samples_, &TarSample::regions, ".json"));
    SampleRegions all{.samples = {}, .height = layout_.height, .width = layout_.width};
    for (const TarSample& sample : samples_) {
      absl::StatusOr<std::vector<Region>> regions = ParseRegions(*sample.regions);
      if (!regions.ok()) return Prefixed(regions.status(), absl::StrCat("sample ", sample.key, ".json: "));
      cv::Size original;
      PACTORY_ASSIGN_OR_RETURN(const cv::Mat image, Decode(sample, original));
      const float wider = static_cast<float>(image.cols) / static_cast<float>(original.width);
      const float higher = static_cast<float>(image.rows) / static_cast<float>(original.height);
      for (Region& region : *regions) ScaleCorners(wider, higher, region.corners);
      all.samples.push_back(*std::move(regions));
    }
    return all;
  }

 private:
  static at::Tensor PixelsOf(const cv::Mat& image, int channels) {
    return at::from_blob(image.data, {image.rows, image.cols, channels}, {static_cast<int64_t>(image.step[0]), channels, 1},
                         at::TensorOptions().dtype(at::kByte));
  }

  // 8-bit pixels in the model's channel order, of the input's height and at most its width; `original`: the size before.
  absl::StatusOr<cv::Mat> Decode(const TarSample& sample, cv::Size& original) const {
    cv::Mat image;
    try {
      image = DecodeImage(sample.image, layout_.channels == 1 ? cv::IMREAD_GRAYSCALE : cv::IMREAD_COLOR);
      if (image.empty()) {
        return absl::InvalidArgumentError(absl::StrCat("image can't be decoded: sample=", sample.key));
      }
      original = image.size();
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

  // The mask as wide as the image that it lies beside has become.
  absl::StatusOr<cv::Mat> DecodeMask(const TarSample& sample, cv::Size original, int width) const {
    cv::Mat mask;
    try {
      mask = DecodeImage(*sample.mask, cv::IMREAD_GRAYSCALE);
      if (mask.empty()) return absl::InvalidArgumentError(absl::StrCat("mask can't be decoded: sample=", sample.key));
      if (mask.size() != original) {
        return absl::InvalidArgumentError(absl::StrCat("mask must have the size of its image: sample=", sample.key, " mask=", mask.cols,
                                                       "x", mask.rows, " image=", original.width, "x", original.height));
      }
      cv::resize(mask, mask, cv::Size(width, layout_.height), 0, 0, cv::INTER_NEAREST);
    } catch (const cv::Exception& error) {
      return absl::InvalidArgumentError(absl::StrCat("mask can't be decoded: sample=", sample.key, " problem=", error.err));
    }
    return mask;
  }

  // Holds the memory that samples_ read.
  MappedFile file_;
  std::vector<TarSample> samples_;
  ImageLayout layout_;
  Preprocess preprocess_;
  at::Tensor labels_;
  // "" where masks are not read.
  std::string mask_target_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Dataset>> OpenTarDataset(MappedFile file, const v1::PreprocessConfig& preprocess,
                                                        const ValueInfo& input, const std::string& mask_target) {
  PACTORY_ASSIGN_OR_RETURN(std::vector<TarSample> samples, IndexTar(file.bytes()));
  PACTORY_ASSIGN_OR_RETURN(const ImageLayout layout, LayoutOf(preprocess, input));
  PACTORY_ASSIGN_OR_RETURN(Preprocess ready, Preprocess::Create(preprocess, 1.0 / 255, layout.channels));
  PACTORY_ASSIGN_OR_RETURN(at::Tensor labels, LabelsOfSamples(samples, preprocess));
  const bool has_masks = samples[0].mask.has_value();
  return std::unique_ptr<Dataset>(new TarDataset(std::move(file), std::move(samples), layout, std::move(ready), std::move(labels),
                                                 has_masks ? mask_target : ""));
}

}  // namespace pactory::quant

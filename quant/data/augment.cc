#include "quant/data/augment.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "npz/preprocess_inputs.h"
#include "quant/data/random.h"

namespace pactory::quant {
namespace {

// Aspect ratios of a resized crop, as in Szegedy et al. 2015.
constexpr double kLeastAspect = 3.0 / 4;
// Tells these numbers from those of the data's order under the same seed.
constexpr uint64_t kStream = 0x6175676d656e74;

at::Tensor Resized(const at::Tensor& image, int64_t height, int64_t width) {
  return at::upsample_bilinear2d(image, {height, width}, /*align_corners=*/false);
}

// A random part of the image, brought back to its size.
at::Tensor ResizedCrop(const at::Tensor& image, double least_area, Random& random) {
  const int64_t height = image.size(2), width = image.size(3);
  const double area = random.Between(least_area, 1);
  const double aspect = std::exp(random.Between(std::log(kLeastAspect), -std::log(kLeastAspect)));
  const auto side = [](double share, int64_t whole) {
    return std::clamp<int64_t>(std::llround(share * static_cast<double>(whole)), 1, whole);
  };
  const int64_t rows = side(std::sqrt(area / aspect), height), columns = side(std::sqrt(area * aspect), width);
  const int64_t top = random.Below(height - rows + 1), left = random.Below(width - columns + 1);
  return Resized(image.narrow(2, top, rows).narrow(3, left, columns), height, width);
}

// Makes what is shown larger or smaller about the centre.
at::Tensor Zoomed(const at::Tensor& image, double factor) {
  const int64_t height = image.size(2), width = image.size(3);
  const auto side = [factor](int64_t whole) { return std::max<int64_t>(1, std::llround(factor * static_cast<double>(whole))); };
  const at::Tensor large = Resized(image, side(height), side(width));
  const int64_t rows = std::min(height, large.size(2)), columns = std::min(width, large.size(3));
  at::Tensor result = at::zeros_like(image);
  result.narrow(2, (height - rows) / 2, rows)
      .narrow(3, (width - columns) / 2, columns)
      .copy_(large.narrow(2, (large.size(2) - rows) / 2, rows).narrow(3, (large.size(3) - columns) / 2, columns));
  return result;
}

at::Tensor PaddedCrop(const at::Tensor& image, int64_t padding, Random& random) {
  const int64_t top = random.Below(2 * padding + 1), left = random.Below(2 * padding + 1);
  const at::Tensor padded = at::constant_pad_nd(image, {padding, padding, padding, padding});
  return padded.narrow(2, top, image.size(2)).narrow(3, left, image.size(3));
}

// One value for each channel, or one for all, as 1 x C x 1 x 1.
at::Tensor PerChannel(const google::protobuf::RepeatedField<double>& values, double absent) {
  if (values.empty()) return at::full({1, 1, 1, 1}, absent, at::kFloat);
  return at::tensor(std::vector<double>(values.begin(), values.end()), at::kFloat).reshape({1, -1, 1, 1});
}

// What multiplies the three channels of a pixel: its chroma times `factor` and turned by `angle`.
at::Tensor ColorMatrix(double factor, double angle, v1::PreprocessConfig::ChannelOrder order) {
  // Luma, and the two parts of the chroma, which are 0 for grays, of red, green, blue.
  at::Tensor yiq = at::tensor({0.299, 0.587, 0.114, 0.596, -0.274, -0.322, 0.211, -0.523, 0.312}, at::kDouble).reshape({3, 3});
  if (order == v1::PreprocessConfig::BGR) yiq = yiq.flip(1);
  const double along = factor * std::cos(angle), across = factor * std::sin(angle);
  const at::Tensor turn = at::tensor({1.0, 0.0, 0.0, 0.0, along, -across, 0.0, across, along}, at::kDouble).reshape({3, 3});
  return at::linalg_inv(yiq).matmul(turn).matmul(yiq).to(at::kFloat);
}

at::Tensor Changed(const v1::PreprocessConfig& config, at::Tensor image, Random random) {
  const v1::AugmentationConfig& augmentation = config.augmentation();
  if (augmentation.min_crop_area() < 1) image = ResizedCrop(image, augmentation.min_crop_area(), random);
  if (augmentation.zoom() > 0) image = Zoomed(image, random.Between(1 - augmentation.zoom(), 1 + augmentation.zoom()));
  if (augmentation.crop_padding() > 0) image = PaddedCrop(image, augmentation.crop_padding(), random);
  if (random.Share() < augmentation.horizontal_flip()) image = image.flip(3);
  if (random.Share() < augmentation.vertical_flip()) image = image.flip(2);
  const bool changes_colors = ChangesColors(augmentation);
  if (augmentation.brightness() == 0 && augmentation.contrast() == 0 && !changes_colors) return image;
  const at::Tensor mean = PerChannel(config.mean(), 0), deviation = PerChannel(config.std(), 1);
  at::Tensor pixels = image * deviation + mean;
  pixels = pixels * random.Between(1 - augmentation.brightness(), 1 + augmentation.brightness());
  const at::Tensor gray = pixels.mean();
  pixels = (pixels - gray) * random.Between(1 - augmentation.contrast(), 1 + augmentation.contrast()) + gray;
  if (changes_colors) {
    const double factor = random.Between(1 - augmentation.saturation(), 1 + augmentation.saturation());
    const double angle = random.Between(-augmentation.hue(), augmentation.hue()) * std::numbers::pi;
    pixels = ColorMatrix(factor, angle, config.channel_order()).matmul(pixels.reshape({3, -1})).reshape(pixels.sizes());
  }
  return (pixels - mean) / deviation;
}

}  // namespace

absl::StatusOr<std::vector<size_t>> AugmentedInputs(const v1::PreprocessConfig& config, const Graph& graph,
                                                    const std::set<std::string>& preprocessed) {
  std::vector<size_t> images;
  if (!Augments(config.augmentation())) return images;
  for (size_t i = 0; i < graph.inputs.size(); ++i) {
    const ValueInfo& input = graph.inputs[i];
    if (preprocessed.contains(input.name) && (!input.rank_known || input.dims.size() == 4)) images.push_back(i);
  }
  const bool changes_colors = ChangesColors(config.augmentation());
  for (const size_t i : images) {
    const ValueInfo& input = graph.inputs[i];
    if (!changes_colors || (input.rank_known && input.dims[1] == 3)) continue;
    return InvalidField(absl::StrCat("preprocess.augmentation.", config.augmentation().saturation() > 0 ? "saturation" : "hue"),
                        absl::StrCat("needs images with 3 channels on axis 1; leave it out: input=", input.name));
  }
  if (!images.empty()) return images;
  return InvalidField("preprocess.augmentation",
                      absl::StrCat("needs an input of images, N x C x H x W, which preprocess.inputs names where there are several; leave it "
                                   "out: preprocessed inputs=", absl::StrJoin(preprocessed, ",")));
}

at::Tensor Augment(const v1::PreprocessConfig& config, const at::Tensor& x, absl::Span<const int64_t> indices, int64_t seed,
                   int64_t step) {
  at::Tensor result = at::empty_like(x);
  for (int64_t i = 0; i < x.size(0); ++i) {
    const Random random(static_cast<uint64_t>(seed), {kStream, static_cast<uint64_t>(step), static_cast<uint64_t>(indices[i])});
    result.narrow(0, i, 1).copy_(Changed(config, x.narrow(0, i, 1), random));
  }
  return result;
}

}  // namespace pactory::quant

// Ops of detection and segmentation nets: GridSample, RoiAlign, NonMaxSuppression.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "quant/ops/arguments.h"
#include "quant/ops/registry.h"

namespace pactory::quant {
namespace {

// The numbers that LibTorch's grid_sampler knows the modes by.
absl::StatusOr<int64_t> NumberOfMode(const std::string& mode) {
  if (mode == "linear" || mode == "bilinear") return 0;
  if (mode == "nearest") return 1;
  if (mode == "cubic" || mode == "bicubic") return 2;
  return absl::InvalidArgumentError("mode must be linear, nearest or cubic: mode=" + mode);
}

absl::StatusOr<int64_t> NumberOfPadding(const std::string& mode) {
  if (mode == "zeros") return 0;
  if (mode == "border") return 1;
  if (mode == "reflection") return 2;
  return absl::InvalidArgumentError("padding_mode must be zeros, border or reflection: padding_mode=" + mode);
}

absl::StatusOr<Kernel> BindGridSample(const Node& node, int64_t) {
  const absl::StatusOr<int64_t> mode = NumberOfMode(node.StringOr("mode", "linear"));
  if (!mode.ok()) return mode.status();
  const absl::StatusOr<int64_t> padding = NumberOfPadding(node.StringOr("padding_mode", "zeros"));
  if (!padding.ok()) return padding.status();
  const bool align_corners = node.IntOr("align_corners", 0) != 0;
  return Kernel([mode = *mode, padding = *padding, align_corners](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& x = RequiredInput(arguments, 0);
    return {at::grid_sampler(x, RequiredInput(arguments, 1).to(x.scalar_type()), mode, padding, align_corners)};
  });
}

struct RoiAlignment {
  int64_t output_height = 1;
  int64_t output_width = 1;
  int64_t sampling_ratio = 0;
  double spatial_scale = 1;
  bool half_pixel = true;
  bool largest = false;
};

// Where the samples of one region lie along one dimension, with the two pixels beside each and their weights.
struct AxisSamples {
  // Samples in each output cell.
  int64_t grid = 0;
  std::vector<int64_t> low, high;
  std::vector<double> low_weight, high_weight;
};

AxisSamples SampleAxis(double start, double end, int64_t cells, int64_t size, const RoiAlignment& how) {
  const double offset = how.half_pixel ? 0.5 : 0;
  start = start * how.spatial_scale - offset;
  double length = end * how.spatial_scale - offset - start;
  if (!how.half_pixel) length = std::max(length, 1.0);
  const double cell = length / static_cast<double>(cells);
  // Keeps the number of samples far from overflow.
  TORCH_CHECK(std::abs(start) < 1e9 && std::abs(cell) < 1e5, "regions must be of sane size: start=", start,
              " length=", length);
  AxisSamples samples;
  samples.grid = how.sampling_ratio > 0 ? how.sampling_ratio : std::max<int64_t>(0, std::ceil(cell));
  for (int64_t index = 0; index < cells * samples.grid; ++index) {
    const double at = start + static_cast<double>(index / samples.grid) * cell +
                      (static_cast<double>(index % samples.grid) + 0.5) * cell / static_cast<double>(samples.grid);
    const bool outside = at < -1 || at > static_cast<double>(size);
    const double inside = std::clamp(at, 0.0, static_cast<double>(size - 1));
    const int64_t low = static_cast<int64_t>(inside);
    const double fraction = inside - static_cast<double>(low);
    samples.low.push_back(low);
    samples.high.push_back(std::min(low + 1, size - 1));
    samples.low_weight.push_back(outside ? 0 : 1 - fraction);
    samples.high_weight.push_back(outside ? 0 : fraction);
  }
  return samples;
}

// Averaging separates: a matrix of cells x size for each dimension holds the weights.
at::Tensor AveragingMatrix(const AxisSamples& samples, int64_t cells, int64_t size, const at::TensorOptions& options) {
  std::vector<double> weights(cells * size, 0);
  for (size_t index = 0; index < samples.low.size(); ++index) {
    double* row = weights.data() + static_cast<int64_t>(index) / samples.grid * size;
    row[samples.low[index]] += samples.low_weight[index] / static_cast<double>(samples.grid);
    row[samples.high[index]] += samples.high_weight[index] / static_cast<double>(samples.grid);
  }
  return at::tensor(weights, at::kDouble).reshape({cells, size}).to(options);
}

// The largest of the four weighed pixels around each sample, over the samples of a cell, as runtimes compute it.
at::Tensor LargestSamples(const at::Tensor& image, const AxisSamples& rows, const AxisSamples& columns,
                          const RoiAlignment& how) {
  if (rows.low.empty() || columns.low.empty()) {
    return at::zeros({image.size(0), how.output_height, how.output_width}, image.options());
  }
  at::Tensor result;
  for (const bool lower_row : {true, false}) {
    const at::Tensor row_index = at::tensor(lower_row ? rows.low : rows.high, at::kLong).to(image.device());
    const at::Tensor row_weight =
        at::tensor(lower_row ? rows.low_weight : rows.high_weight, at::kDouble).to(image.options()).unsqueeze(1);
    const at::Tensor picked = at::index_select(image, 1, row_index) * row_weight;
    for (const bool lower_column : {true, false}) {
      const at::Tensor column_index =
          at::tensor(lower_column ? columns.low : columns.high, at::kLong).to(image.device());
      const at::Tensor column_weight =
          at::tensor(lower_column ? columns.low_weight : columns.high_weight, at::kDouble).to(image.options());
      const at::Tensor corner = at::index_select(picked, 2, column_index) * column_weight;
      result = result.defined() ? at::maximum(result, corner) : corner;
    }
  }
  const std::vector<int64_t> cells = {image.size(0), how.output_height, rows.grid, how.output_width, columns.grid};
  return at::amax(result.reshape(cells), {2, 4});
}

// ONNX RoiAlign, opset 22: regions are x1, y1, x2, y2.
at::Tensor RoiAlign(const at::Tensor& x, const at::Tensor& regions, const at::Tensor& batch, const RoiAlignment& how) {
  TORCH_CHECK(x.dim() == 4 && regions.dim() == 2 && regions.size(1) == 4, "RoiAlign takes N x C x H x W and n x 4");
  const std::vector<double> corners = Numbers(regions);
  const std::vector<int64_t> images = Integers(batch);
  TORCH_CHECK(images.size() * 4 == corners.size() && x.size(2) > 0 && x.size(3) > 0,
              "RoiAlign must have one batch index for each region: indices=", images.size());
  std::vector<at::Tensor> results;
  for (size_t index = 0; index < images.size(); ++index) {
    TORCH_CHECK(images[index] >= 0 && images[index] < x.size(0), "batch index must be in the batch: index=",
                images[index]);
    const at::Tensor image = x[images[index]];
    const double* region = corners.data() + 4 * index;
    const AxisSamples rows = SampleAxis(region[1], region[3], how.output_height, x.size(2), how);
    const AxisSamples columns = SampleAxis(region[0], region[2], how.output_width, x.size(3), how);
    if (how.largest) {
      results.push_back(LargestSamples(image, rows, columns, how));
      continue;
    }
    const at::Tensor by_row = AveragingMatrix(rows, how.output_height, x.size(2), x.options());
    const at::Tensor by_column = AveragingMatrix(columns, how.output_width, x.size(3), x.options());
    results.push_back(at::matmul(by_row, at::matmul(image, by_column.t())));
  }
  if (results.empty()) return at::zeros({0, x.size(1), how.output_height, how.output_width}, x.options());
  return at::stack(results);
}

absl::StatusOr<Kernel> BindRoiAlign(const Node& node, int64_t opset) {
  RoiAlignment how;
  how.output_height = node.IntOr("output_height", 1);
  how.output_width = node.IntOr("output_width", 1);
  how.sampling_ratio = node.IntOr("sampling_ratio", 0);
  how.spatial_scale = node.FloatOr("spatial_scale", 1);
  how.half_pixel = opset >= 16 && node.StringOr("coordinate_transformation_mode", "half_pixel") == "half_pixel";
  const std::string mode = node.StringOr("mode", "avg");
  if (mode != "avg" && mode != "max") return absl::InvalidArgumentError("mode must be avg or max: mode=" + mode);
  how.largest = mode == "max";
  constexpr int64_t kLargestSize = 1 << 16;
  for (const int64_t size : {how.output_height, how.output_width, how.sampling_ratio + 1}) {
    if (size < 1 || size > kLargestSize) {
      return absl::InvalidArgumentError(
          absl::StrCat("output_height, output_width and sampling_ratio must be sane: value=", size));
    }
  }
  return Kernel([how](Arguments arguments) -> std::vector<at::Tensor> {
    return {RoiAlign(RequiredInput(arguments, 0), RequiredInput(arguments, 1), RequiredInput(arguments, 2), how)};
  });
}

struct Box {
  float top, left, bottom, right;
  float Area() const { return (bottom - top) * (right - left); }
};

Box BoxOf(const float* values, bool center_point) {
  if (center_point) {
    return {values[1] - values[3] / 2, values[0] - values[2] / 2, values[1] + values[3] / 2,
            values[0] + values[2] / 2};
  }
  return {std::min(values[0], values[2]), std::min(values[1], values[3]), std::max(values[0], values[2]),
          std::max(values[1], values[3])};
}

// Whether intersection over union is above the threshold.
bool Overlap(const Box& a, const Box& b, float threshold) {
  const float height = std::min(a.bottom, b.bottom) - std::max(a.top, b.top);
  const float width = std::min(a.right, b.right) - std::max(a.left, b.left);
  if (height <= 0 || width <= 0 || a.Area() <= 0 || b.Area() <= 0) return false;
  const float common = height * width;
  return common / (a.Area() + b.Area() - common) > threshold;
}

// ONNX NonMaxSuppression, opset 11: triples of batch, class and box, by falling score.
at::Tensor NonMaxSuppression(const at::Tensor& boxes, const at::Tensor& scores, int64_t most, float overlap,
                             std::optional<float> least_score, bool center_point) {
  TORCH_CHECK(boxes.dim() == 3 && boxes.size(2) == 4 && scores.dim() == 3 && scores.size(0) == boxes.size(0) &&
                  scores.size(2) == boxes.size(1),
              "boxes must be batch x n x 4 and scores batch x classes x n: boxes=", boxes.sizes(),
              " scores=", scores.sizes());
  const at::Tensor all_boxes = boxes.detach().to(at::kCPU, at::kFloat).contiguous();
  const at::Tensor all_scores = scores.detach().to(at::kCPU, at::kFloat).contiguous();
  const int64_t count = boxes.size(1);
  std::vector<int64_t> selected;
  for (int64_t row = 0; row < scores.size(0) * scores.size(1); ++row) {
    const int64_t batch = row / scores.size(1);
    const float* score = all_scores.const_data_ptr<float>() + row * count;
    const float* box = all_boxes.const_data_ptr<float>() + batch * count * 4;
    std::vector<int64_t> order;
    for (int64_t index = 0; index < count; ++index) {
      // A NaN has no place in an order.
      if (std::isnan(score[index]) || (least_score && !(score[index] > *least_score))) continue;
      order.push_back(index);
    }
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return score[a] > score[b]; });
    std::vector<Box> kept;
    for (const int64_t index : order) {
      if (static_cast<int64_t>(kept.size()) >= most) break;
      const Box candidate = BoxOf(box + 4 * index, center_point);
      const bool hidden =
          std::any_of(kept.begin(), kept.end(), [&](const Box& other) { return Overlap(candidate, other, overlap); });
      if (hidden) continue;
      kept.push_back(candidate);
      selected.insert(selected.end(), {batch, row % scores.size(1), index});
    }
  }
  return at::tensor(selected, at::kLong).reshape({-1, 3}).to(boxes.device());
}

absl::StatusOr<Kernel> BindNonMaxSuppression(const Node& node, int64_t) {
  const bool center_point = node.IntOr("center_point_box", 0) != 0;
  return Kernel([center_point](Arguments arguments) -> std::vector<at::Tensor> {
    const auto number = [&](size_t index) -> std::optional<double> {
      const at::Tensor input = OptionalInput(arguments, index);
      return input.defined() && input.numel() > 0 ? std::optional(Numbers(input)[0]) : std::nullopt;
    };
    const at::Tensor most = OptionalInput(arguments, 2);
    const std::optional<double> least_score = number(4);
    return {NonMaxSuppression(RequiredInput(arguments, 0), RequiredInput(arguments, 1),
                              most.defined() && most.numel() > 0 ? Integers(most)[0] : 0, static_cast<float>(number(3).value_or(0)),
                              least_score ? std::optional(static_cast<float>(*least_score)) : std::nullopt,
                              center_point)};
  });
}

const OpRegistration kGridSample({.name = "GridSample", .first_opset = 16, .bind = BindGridSample});
const OpRegistration kRoiAlign({.name = "RoiAlign", .first_opset = 10, .bind = BindRoiAlign});
const OpRegistration kNonMaxSuppression(
    {.name = "NonMaxSuppression", .first_opset = 10, .non_negative = true, .bind = BindNonMaxSuppression});

}  // namespace
}  // namespace pactory::quant

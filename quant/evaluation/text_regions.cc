#include "quant/evaluation/text_regions.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <opencv2/imgproc.hpp>
#include <optional>
#include <polyclipping/clipper.hpp>

namespace pactory::quant {
namespace {

// Clipper counts in whole numbers.
constexpr double kOffsetScale = 1024;
// Of the round corners, in pixels.
constexpr double kArcTolerance = 0.1;

using Outline = std::vector<cv::Point2f>;

// The mean of the map inside an outline, whose corners fall on pixels; what lies beyond the map does not count.
double MeanInside(const cv::Mat& map, const Outline& outline) {
  std::vector<cv::Point> corners;
  for (const cv::Point2f& corner : outline) corners.emplace_back(cvFloor(corner.x), cvFloor(corner.y));
  const cv::Rect bounds = cv::boundingRect(corners) & cv::Rect(cv::Point(), map.size());
  if (bounds.empty()) return 0;
  for (cv::Point& corner : corners) corner -= bounds.tl();
  cv::Mat inside = cv::Mat::zeros(bounds.size(), CV_8UC1);
  cv::fillPoly(inside, std::vector<std::vector<cv::Point>>{corners}, cv::Scalar(1));
  return cv::mean(map(bounds), inside)[0];
}

double ShorterSide(const cv::RotatedRect& rectangle) { return std::min(rectangle.size.width, rectangle.size.height); }

// How far an outline grows; 0 where it has no length.
double GrowthOf(double area, double perimeter, double ratio) { return perimeter > 0 ? area * ratio / perimeter : 0; }

Outline CornersOf(const cv::RotatedRect& rectangle) {
  Outline corners(4);
  rectangle.points(corners.data());
  return corners;
}

std::optional<Outline> GrownPolygon(const Outline& polygon, double growth) {
  ClipperLib::Path path;
  for (const cv::Point2f& corner : polygon) {
    path.emplace_back(std::llround(corner.x * kOffsetScale), std::llround(corner.y * kOffsetScale));
  }
  ClipperLib::ClipperOffset offset(2, kArcTolerance * kOffsetScale);
  offset.AddPath(path, ClipperLib::jtRound, ClipperLib::etClosedPolygon);
  ClipperLib::Paths grown;
  offset.Execute(grown, growth * kOffsetScale);
  // A ring is no region.
  if (grown.size() != 1) return std::nullopt;
  Outline outline;
  for (const ClipperLib::IntPoint& point : grown[0]) {
    outline.emplace_back(static_cast<float>(static_cast<double>(point.X) / kOffsetScale),
                         static_cast<float>(static_cast<double>(point.Y) / kOffsetScale));
  }
  return outline;
}

Outline WithFewerCorners(const Outline& outline) {
  Outline coarse = outline;
  for (double error = 0.25; coarse.size() > kMaxPolygonCorners; error *= 1.5) cv::approxPolyDP(outline, coarse, error, /*closed=*/true);
  return coarse;
}

// The grown outline of a contour, with the mean inside what it was before.
std::optional<ScoredRegion> RegionOfContour(const cv::Mat& map, const std::vector<cv::Point>& contour, const v1::TextRegionConfig& config) {
  cv::RotatedRect rectangle = cv::minAreaRect(contour);
  if (ShorterSide(rectangle) < config.min_size()) return std::nullopt;
  Outline outline = CornersOf(rectangle);
  if (config.shape() == v1::TextRegionConfig::POLYGON) {
    std::vector<cv::Point> polygon;
    cv::approxPolyDP(contour, polygon, 0.002 * cv::arcLength(contour, /*closed=*/true), /*closed=*/true);
    if (polygon.size() < 4) return std::nullopt;
    outline.assign(polygon.begin(), polygon.end());
  }
  const double score = MeanInside(map, outline);
  // NaN is no score.
  if (!(score >= config.box_threshold())) return std::nullopt;
  const double growth = GrowthOf(cv::contourArea(outline), cv::arcLength(outline, /*closed=*/true), config.unclip_ratio());
  if (config.shape() == v1::TextRegionConfig::POLYGON) {
    std::optional<Outline> grown = GrownPolygon(outline, growth);
    if (!grown.has_value()) return std::nullopt;
    rectangle = cv::minAreaRect(*grown);
    outline = WithFewerCorners(*grown);
  } else {
    // The smallest rectangle about the rounded outline.
    rectangle.size.width += static_cast<float>(2 * growth);
    rectangle.size.height += static_cast<float>(2 * growth);
    outline = CornersOf(rectangle);
  }
  if (ShorterSide(rectangle) < config.min_size() + 2) return std::nullopt;
  ScoredRegion region{.score = static_cast<float>(score)};
  for (const cv::Point2f& corner : outline) {
    region.corners.push_back(std::clamp(corner.x, 0.0f, static_cast<float>(map.cols)));
    region.corners.push_back(std::clamp(corner.y, 0.0f, static_cast<float>(map.rows)));
  }
  return region;
}

}  // namespace

std::vector<ScoredRegion> FindTextRegions(const at::Tensor& map, double map_threshold, const v1::TextRegionConfig& config) {
  const at::Tensor values = map.contiguous();
  const at::Tensor set = values.gt(map_threshold).to(at::kByte);
  const int height = static_cast<int>(map.size(0)), width = static_cast<int>(map.size(1));
  const cv::Mat pixels(height, width, CV_32FC1, values.data_ptr<float>());
  const cv::Mat bitmap(height, width, CV_8UC1, set.data_ptr<uint8_t>());
  std::vector<std::vector<cv::Point>> contours;
  std::vector<cv::Vec4i> hierarchy;
  cv::findContours(bitmap, contours, hierarchy, cv::RETR_CCOMP, cv::CHAIN_APPROX_SIMPLE);
  std::vector<ScoredRegion> regions;
  for (size_t i = 0; i < contours.size(); ++i) {
    // A hole lies in another contour.
    if (hierarchy[i][3] >= 0) continue;
    if (std::optional<ScoredRegion> region = RegionOfContour(pixels, contours[i], config)) regions.push_back(*std::move(region));
  }
  std::stable_sort(regions.begin(), regions.end(), [](const ScoredRegion& a, const ScoredRegion& b) { return a.score > b.score; });
  if (regions.size() > static_cast<size_t>(config.max_regions())) regions.resize(static_cast<size_t>(config.max_regions()));
  return regions;
}

}  // namespace pactory::quant

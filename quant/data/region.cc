#include "quant/data/region.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"

namespace pactory::quant {
namespace {

using RegionJson = nlohmann::json;

// Images are far smaller; float keeps fractions of a pixel up to here.
constexpr double kLargestCoordinate = 1e5;
constexpr size_t kMaxCorners = 1000;
// Floats hold whole numbers exactly up to here.
constexpr int64_t kMaxCategory = int64_t{1} << 24;

// The beginning of a value, in ASCII, so that no character is cut.
std::string Shown(const RegionJson& value) { return value.dump(-1, ' ', /*ensure_ascii=*/true).substr(0, 100); }

bool IsCoordinate(const RegionJson& value) { return value.is_number() && std::abs(value.get<double>()) <= kLargestCoordinate; }

absl::StatusOr<std::vector<float>> CornersOfBox(const RegionJson& box) {
  bool numbers = box.is_array() && box.size() == 4;
  for (size_t i = 0; numbers && i < 4; ++i) numbers = IsCoordinate(box[i]);
  if (!numbers || box[2].get<double>() < 0 || box[3].get<double>() < 0) {
    return absl::InvalidArgumentError(absl::StrCat("bbox must be [left, top, width, height] in pixels: bbox=", Shown(box)));
  }
  const float left = box[0].get<float>(), top = box[1].get<float>();
  const float right = left + box[2].get<float>(), bottom = top + box[3].get<float>();
  return std::vector<float>{left, top, right, top, right, bottom, left, bottom};
}

absl::StatusOr<std::vector<float>> CornersOfPolygon(const RegionJson& points) {
  bool valid = points.is_array() && points.size() >= 3 && points.size() <= kMaxCorners;
  std::vector<float> corners;
  for (size_t i = 0; valid && i < points.size(); ++i) {
    const RegionJson& point = points[i];
    valid = point.is_array() && point.size() == 2 && IsCoordinate(point[0]) && IsCoordinate(point[1]);
    if (valid) corners.insert(corners.end(), {point[0].get<float>(), point[1].get<float>()});
  }
  if (valid) return corners;
  return absl::InvalidArgumentError(absl::StrCat("points must be 3 to ", kMaxCorners, " pairs [x, y] in pixels: points=",
                                                 Shown(points)));
}

// COCO has 0 and 1, others true and false.
absl::StatusOr<bool> Flag(const RegionJson& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end()) return false;
  if (found->is_boolean()) return found->get<bool>();
  if (found->is_number_integer() && (*found == 0 || *found == 1)) return *found == 1;
  return absl::InvalidArgumentError(absl::StrCat(key, " must be 0 or 1: ", key, "=", Shown(*found)));
}

absl::StatusOr<Region> RegionOf(const RegionJson& object) {
  if (!object.is_object()) return absl::InvalidArgumentError("must be an object with `bbox` or `points`");
  Region region;
  if (const auto box = object.find("bbox"); box != object.end()) {
    PACTORY_ASSIGN_OR_RETURN(region.corners, CornersOfBox(*box));
  } else if (const auto points = object.find("points"); points != object.end()) {
    PACTORY_ASSIGN_OR_RETURN(region.corners, CornersOfPolygon(*points));
  } else {
    return absl::InvalidArgumentError("must have `bbox` or `points`");
  }
  if (const auto category = object.find("category_id"); category != object.end()) {
    if (!category->is_number_integer() || *category < 0 || *category > kMaxCategory) {
      return absl::InvalidArgumentError(absl::StrCat("category_id must be a whole number from 0 to ", kMaxCategory, ": category_id=",
                                                     Shown(*category)));
    }
    region.category = category->get<int64_t>();
  }
  PACTORY_ASSIGN_OR_RETURN(const bool crowd, Flag(object, "iscrowd"));
  PACTORY_ASSIGN_OR_RETURN(const bool ignored, Flag(object, "ignore"));
  region.ignored = crowd || ignored;
  if (const auto text = object.find("transcription"); text != object.end()) {
    region.ignored = region.ignored || *text == "###" || *text == "*";
  }
  return region;
}

}  // namespace

void ScaleCorners(float wider, float higher, std::vector<float>& corners) {
  for (size_t i = 0; i < corners.size(); ++i) corners[i] *= i % 2 == 0 ? wider : higher;
}

absl::StatusOr<std::vector<Region>> ParseRegions(absl::string_view json) {
  const RegionJson root = RegionJson::parse(json.begin(), json.end(), nullptr, /*allow_exceptions=*/false);
  if (root.is_discarded()) return absl::InvalidArgumentError("must be JSON");
  const RegionJson* list = &root;
  if (root.is_object() && root.contains("annotations")) list = &root["annotations"];
  if (!list->is_array()) return absl::InvalidArgumentError("must be an array of objects, or an object with one as `annotations`");
  std::vector<Region> regions;
  for (size_t i = 0; i < list->size(); ++i) {
    absl::StatusOr<Region> region = RegionOf((*list)[i]);
    if (!region.ok()) return Prefixed(region.status(), absl::StrCat("object ", i, ": "));
    regions.push_back(*std::move(region));
  }
  return regions;
}

}  // namespace pactory::quant

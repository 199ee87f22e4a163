#include "npz/dataset_layout.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace pactory {

const ZipMember* FindArray(const std::vector<ZipMember>& members, absl::string_view name) {
  const auto found = std::find_if(members.begin(), members.end(), [&](const ZipMember& member) {
    return member.name == name || member.name == absl::StrCat(name, ".npy");
  });
  return found == members.end() ? nullptr : &*found;
}

absl::Status CheckSampleArray(const NpyHeader& x) {
  if (x.shape.empty() || x.shape[0] == 0) {
    return absl::InvalidArgumentError(absl::StrCat("array x must hold at least one sample: shape=", ShapeText(x.shape)));
  }
  const bool byte = x.item_size == 1 && x.kind != NpyKind::kBool;
  if (byte || x.kind == NpyKind::kFloat) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("array x must be uint8, int8, float16, float32 or float64: dtype=", x.dtype));
}

absl::Status CheckTargetArray(const NpyHeader& x, const NpyHeader& y) {
  if (!y.shape.empty() && y.shape[0] == x.shape[0] && y.kind == NpyKind::kFloat) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("an array of targets must hold floats, for each sample of x: x=", ShapeText(x.shape),
                                                 " y=", ShapeText(y.shape), " dtype=", y.dtype));
}

absl::Status CheckLabelArray(const NpyHeader& x, const NpyHeader& y) {
  if ((y.shape.size() != 1 && y.shape.size() != 2) || y.shape[0] != x.shape[0]) {
    return absl::InvalidArgumentError(absl::StrCat("array y must have one label, or one row of them, for each sample of x: x=",
                                                   ShapeText(x.shape), " y=", ShapeText(y.shape)));
  }
  if (y.kind == NpyKind::kSigned || y.kind == NpyKind::kUnsigned) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("array y must hold integers: dtype=", y.dtype));
}

}  // namespace pactory

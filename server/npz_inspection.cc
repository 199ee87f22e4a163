#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "npz/dataset_layout.h"
#include "npz/npy_header.h"
#include "npz/zip_directory.h"
#include "server/dataset_inspection.h"

namespace pactory {
namespace {

absl::StatusOr<std::optional<NpyHeader>> ReadArray(const RangedFile& file, const std::vector<ZipMember>& members,
                                                   absl::string_view name) {
  const ZipMember* member = FindArray(members, name);
  if (member == nullptr) return std::nullopt;
  PACTORY_ASSIGN_OR_RETURN(const std::string start, ReadStart(file, *member, kMaxNpyHeader));
  absl::StatusOr<NpyHeader> header = ParseNpyHeader(start);
  absl::Status status = header.status();
  if (status.ok()) status = CheckNpySize(*header, member->size);
  if (!status.ok()) return Prefixed(status, absl::StrCat("array ", member->name, ": "));
  return *std::move(header);
}

absl::StatusOr<DatasetFacts> Inspect(const RangedFile& file) {
  PACTORY_ASSIGN_OR_RETURN(const std::vector<ZipMember> members, ReadZipDirectory(file));
  PACTORY_ASSIGN_OR_RETURN(const std::optional<NpyHeader> x, ReadArray(file, members, "x"));
  if (!x.has_value()) {
    return absl::InvalidArgumentError("there must be an array x with the samples; save it with numpy.savez(file, x=..., y=...)");
  }
  PACTORY_RETURN_IF_ERROR(CheckSampleArray(*x));
  PACTORY_ASSIGN_OR_RETURN(const std::optional<NpyHeader> y, ReadArray(file, members, "y"));
  const bool regression = y.has_value() && y->kind == NpyKind::kFloat;
  if (y.has_value()) PACTORY_RETURN_IF_ERROR(regression ? CheckTargetArray(*x, *y) : CheckLabelArray(*x, *y));
  DatasetFacts facts;
  facts.sample_dims.emplace(x->shape.begin() + 1, x->shape.end());
  facts.labelled = y.has_value() && !regression;
  return facts;
}

}  // namespace

absl::StatusOr<DatasetFacts> InspectNpz(int64_t size_bytes, const ReadExactlyFn& read) {
  absl::StatusOr<DatasetFacts> facts = Inspect({size_bytes, read});
  if (!absl::IsInvalidArgument(facts.status())) return facts;
  return BadData(absl::StrCat("must be a .npz file with the arrays of a dataset: ", facts.status().message()));
}

}  // namespace pactory

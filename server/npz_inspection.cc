#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "npz/zip_directory.h"
#include "server/dataset_inspection.h"

namespace pactory {
namespace {

absl::StatusOr<ArrayList> Inspect(const RangedFile& file) {
  PACTORY_ASSIGN_OR_RETURN(const std::vector<ZipMember> members, ReadZipDirectory(file));
  PACTORY_ASSIGN_OR_RETURN(ArrayList arrays, ReadArrays(file, members));
  PACTORY_RETURN_IF_ERROR(CheckArrays(arrays));
  return arrays;
}

}  // namespace

absl::StatusOr<ArrayList> InspectNpz(int64_t size_bytes, const ReadExactlyFn& read) {
  absl::StatusOr<ArrayList> arrays = Inspect({size_bytes, read});
  if (!absl::IsInvalidArgument(arrays.status())) return arrays;
  return BadData(absl::StrCat("must be a .npz file with the arrays of a dataset: ", arrays.status().message()));
}

}  // namespace pactory

#include "server/dataset_inspection.h"

#include "base/error.h"
#include "base/status_macros.h"

namespace pactory {

absl::Status BadData(absl::string_view problem) {
  return WithReason(InvalidField("dataset.blob", problem), "BAD_DATA");
}

absl::StatusOr<ArrayList> InspectDataset(v1::Dataset::Format format, int64_t size_bytes, const ReadExactlyFn& read) {
  if (size_bytes == 0) return BadData("must hold data, and is empty");
  switch (format) {
    case v1::Dataset::NPZ:
      return InspectNpz(size_bytes, read);
    case v1::Dataset::TAR:
      PACTORY_RETURN_IF_ERROR(InspectTar(size_bytes, read));
      return ArrayList();
    default:
      return InvalidField("dataset.format", "must be NPZ or TAR");
  }
}

}  // namespace pactory

// Checks that a data container is what it says, by reading its directory and headers only. Nothing in the file is
// trusted. Used by DatasetService. Stateless.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "npz/dataset_layout.h"
#include "pactory/v1/dataset.pb.h"

namespace pactory {

/// Returns exactly `size` bytes of a file from `offset`; OUT_OF_RANGE beyond its end.
using ReadExactlyFn = std::function<absl::StatusOr<std::string>(int64_t offset, int64_t size)>;

/// Returns the arrays of the container, none for a tar. INVALID_ARGUMENT naming `dataset.blob`, with reason `BAD_DATA`, says what is
/// wrong in it.
absl::StatusOr<ArrayList> InspectDataset(v1::Dataset::Format format, int64_t size_bytes, const ReadExactlyFn& read);

/// The two containers; as InspectDataset.
absl::StatusOr<ArrayList> InspectNpz(int64_t size_bytes, const ReadExactlyFn& read);
absl::Status InspectTar(int64_t size_bytes, const ReadExactlyFn& read);

/// Returns the status of a container that is not as it must be.
absl::Status BadData(absl::string_view problem);

}  // namespace pactory

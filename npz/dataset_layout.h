// What the arrays of a dataset's .npz must be, said once for the server, which refuses others when they are uploaded, and for the
// trainer, which reads them. Stateless.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "npz/npy_header.h"
#include "npz/zip_directory.h"

namespace pactory {

/// Returns the member that holds an array (`x` or `x.npy`), or null.
const ZipMember* FindArray(const std::vector<ZipMember>& members, absl::string_view name);

/// Samples: at least one, of uint8, int8, float16, float32 or float64. INVALID_ARGUMENT says what they are.
absl::Status CheckSampleArray(const NpyHeader& x);

/// Targets of a regression: floats, one or an array of them for each sample. INVALID_ARGUMENT says what they are.
absl::Status CheckTargetArray(const NpyHeader& x, const NpyHeader& y);

/// Labels: for each sample an integer (N, or N x 1), or a row of integers (N x L). INVALID_ARGUMENT says what they are.
absl::Status CheckLabelArray(const NpyHeader& x, const NpyHeader& y);

}  // namespace pactory

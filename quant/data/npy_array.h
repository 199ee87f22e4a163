// A NumPy array in memory. Used by the .npz reader. Stateless.
#pragma once

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "npz/npy_header.h"

namespace pactory::quant {

/// An array whose elements lie in someone else's memory, row by row, not aligned.
struct NpyArray {
  NpyHeader header;
  absl::string_view data;

  /// Type of a tensor of its elements.
  at::ScalarType type() const;
  /// Bytes of one row, that is, of one index of the first dimension.
  int64_t row_bytes() const;
  /// Copies rows into a tensor of the stored type. Indices must be in range.
  at::Tensor Rows(const int64_t* indices, int64_t count) const;
};

/// Reads an array; INVALID_ARGUMENT as ParseNpyHeader and CheckNpySize.
absl::StatusOr<NpyArray> ParseNpy(absl::string_view bytes);

}  // namespace pactory::quant

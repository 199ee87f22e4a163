// One NumPy array in its .npy form. Used by the .npz reader. Stateless.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace pactory::quant {

/// An array whose elements lie in someone else's memory, row by row, not aligned.
struct NpyArray {
  at::ScalarType type = at::kFloat;
  std::vector<int64_t> shape;
  absl::string_view data;

  /// Bytes of one row, that is, of one index of the first dimension.
  int64_t row_bytes() const;
  /// Copies rows into a tensor of the stored type. Indices must be in range.
  at::Tensor Rows(const int64_t* indices, int64_t count) const;
};

/// Reads the header (versions 1 to 3) of `bytes`. INVALID_ARGUMENT where it is damaged, big endian, in Fortran order,
/// of a type that is no number, or shorter than its shape says.
absl::StatusOr<NpyArray> ParseNpy(absl::string_view bytes);

}  // namespace pactory::quant

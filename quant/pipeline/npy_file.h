// NumPy .npy files: the form in which arrays go to the runtime check and, as float32, come back. Stateless.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace pactory::quant {

/// Writes an array row by row, so that a dataset never lies in memory as a whole. Not thread-safe.
class NpyWriter {
 public:
  /// Opens `path` for an array of `shape` and `type`; UNIMPLEMENTED where NumPy has no such type, else errors as of WriteError.
  static absl::StatusOr<NpyWriter> Create(const std::string& path, const std::vector<int64_t>& shape, at::ScalarType type);

  /// Appends rows of the first axis. Errors as of WriteError.
  absl::Status Append(const at::Tensor& rows);

  /// Ends the file; FAILED_PRECONDITION where fewer or more elements came than the shape holds, else errors as of WriteError.
  absl::Status Finish();

 private:
  NpyWriter(std::string path, std::ofstream file, at::ScalarType type, int64_t elements);

  std::string path_;
  std::ofstream file_;
  at::ScalarType type_;
  int64_t missing_;
};

/// Reads a float32 array in C order; INVALID_ARGUMENT names the path and what is wrong.
absl::StatusOr<at::Tensor> ReadNpy(const std::string& path);

}  // namespace pactory::quant

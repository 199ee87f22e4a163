// A checkpoint: named tensors in one file, with a digest. Read defensively: the file may come from a process that died.
// Used by the training loop and the pipeline. Stateless.
//
// File: "PACTCKP1", SHA-256 of the rest as 64 hex digits, then little-endian: u32 number of tensors, and for each u32 length
// of the name, the name, u8 type (0 float32, 1 float64, 2 int64), u8 rank, i64 dimensions, the elements.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace pactory::quant {

/// Named tensors on the CPU.
using Checkpoint = std::map<std::string, at::Tensor>;

/// Returns the file's content.
std::string SerializeCheckpoint(const Checkpoint& checkpoint);

/// Reads a file's content; DATA_LOSS says what is wrong with it.
absl::StatusOr<Checkpoint> ParseCheckpoint(absl::string_view content);

/// Writes a checkpoint in one step: the path has the old file or the whole new one, even after a crash. Errors as of
/// absl::ErrnoToStatus.
absl::Status WriteCheckpoint(const Checkpoint& checkpoint, const std::string& path);

/// Reads a checkpoint file; NOT_FOUND or DATA_LOSS names the path.
absl::StatusOr<Checkpoint> ReadCheckpoint(const std::string& path);

}  // namespace pactory::quant

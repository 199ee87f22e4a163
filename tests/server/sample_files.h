// Small model files and data containers, made in memory, good and bad. Used by the tests of the server.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <onnx/onnx_pb.h>

namespace pactory {

/// Returns a model with input `x` [batch, 3, 4, 4], one Conv with an initializer `w` of 2x3x1x1, and output `y`.
onnx::ModelProto SmallModel();

/// Returns that model with a second input, `ids` [batch, -1] of int64, that a Cast reads.
onnx::ModelProto TwoInputModel();

/// Returns a .npy file.
std::string Npy(const std::string& dtype, const std::vector<int64_t>& shape, int64_t item_size);

/// A file of a container.
struct ContainedFile {
  std::string name;
  std::string content;
};

enum class ZipMethod { kStored, kDeflated };

/// Returns a zip file.
std::string Zip(const std::vector<ContainedFile>& files, ZipMethod method = ZipMethod::kStored);

/// Returns a tar file in ustar form.
std::string Tar(const std::vector<ContainedFile>& files);

/// Returns an .npz with `x` [n, 3, 4, 4] of floats and `y` [n] of int64.
std::string SmallNpz(int64_t n = 8);

}  // namespace pactory

// Reads ONNX models into graphs. Whatever the bytes are, the answer is a graph or a status. Stateless.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "quant/graph/graph.h"

namespace pactory::quant {

/// Opsets of the default domain that import accepts.
inline constexpr int64_t kOldestOpset = 7;
inline constexpr int64_t kNewestOpset = 28;

/// Ops that import itself takes away, so that they need no kernel.
inline constexpr const char* kImportedOps[] = {"Constant"};

/// Reads a serialized ModelProto. Constant nodes become initializers, inputs that have an initializer are no inputs,
/// nodes without a name get one, nodes come in topological order. Ops are not looked up: the executor refuses those it
/// lacks. INVALID_ARGUMENT or UNIMPLEMENTED names the node or tensor that is wrong.
absl::StatusOr<Graph> ImportOnnx(absl::string_view bytes);

/// Reads a model file; NOT_FOUND where it can't be opened. Messages begin with the path.
absl::StatusOr<Graph> ImportOnnxFile(const std::string& path);

}  // namespace pactory::quant

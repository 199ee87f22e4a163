// A graph as the bytes of an ONNX file. Used by the exporter. Stateless.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "quant/graph/graph.h"

namespace pactory::quant {

/// IR version of exported files: the one of opset 13 and 14's releases, which every runtime in use reads; and of opset 21, which
/// brought INT4.
inline constexpr int64_t kExportIrVersion = 8;
inline constexpr int64_t kInt4IrVersion = 10;

/// Returns a serialized ModelProto. Nodes are written without their names, which nothing reads. UNIMPLEMENTED names a node
/// or tensor that ONNX has no form for.
absl::StatusOr<std::string> SerializeGraph(const Graph& graph);

}  // namespace pactory::quant

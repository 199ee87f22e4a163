// How kernels read their arguments, and the short forms of `OpDefinition::bind` for ops that need no attributes. Used
// by the op files only. Stateless.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "quant/graph/graph.h"
#include "quant/ops/registry.h"

namespace pactory::quant {

/// The inputs of a kernel.
using Arguments = at::ArrayRef<at::Tensor>;
/// What `OpDefinition::bind` holds.
using Bind = std::function<absl::StatusOr<Kernel>(const Node&, int64_t opset)>;

/// Returns the input, or an undefined tensor where it is left out. A required input that is missing throws c10::Error.
at::Tensor OptionalInput(Arguments arguments, size_t index);
const at::Tensor& RequiredInput(Arguments arguments, size_t index);

/// Returns the integers of a shape-like tensor. Throws c10::Error where it holds no integers.
std::vector<int64_t> Integers(const at::Tensor& tensor);
/// Returns the numbers of a small tensor, like Resize's scales.
std::vector<double> Numbers(const at::Tensor& tensor);

/// Returns `axis` counted from the front. Throws c10::Error where it is out of range for `rank`.
int64_t NormalAxis(int64_t axis, int64_t rank);
std::vector<int64_t> NormalAxes(std::vector<int64_t> axes, int64_t rank);

/// Returns the axes of ops that take them as an attribute before `input_opset` and as input 1 from then on; empty where
/// neither is given.
std::function<std::vector<int64_t>(Arguments)> AxesReader(const Node& node, int64_t opset, int64_t input_opset,
                                                          size_t input_index = 1);

/// Returns unsigned integers wider than a byte, for which LibTorch has next to no arithmetic, as int64; other tensors as
/// they are. Throws c10::Error where a uint64 is above the largest int64.
at::Tensor Widened(const at::Tensor& x);
/// Returns what was computed of Widened tensors in the type of `like`; truth values stay such.
at::Tensor Narrowed(const at::Tensor& result, const at::Tensor& like);

/// Binds ops without attributes that map one or two tensors to one. Binary widens and narrows.
Bind Unary(std::function<at::Tensor(const at::Tensor&)> function);
Bind Binary(std::function<at::Tensor(const at::Tensor&, const at::Tensor&)> function);

/// What `OpDefinition::stage` holds, of ops that are the same stage whatever their node.
std::function<StageMaker(const Graph&, const Node&)> Stage(std::function<PointwiseStage(const at::Tensor& other)> make);

}  // namespace pactory::quant

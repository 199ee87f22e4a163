// The window arithmetic that convolution and pooling share: kernel shape, strides, dilations and padding. Used by those
// op files only. Stateless.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "quant/graph/graph.h"

namespace pactory::quant {

/// The attributes of a windowed op, over the spatial dimensions of one input.
struct Window {
  std::vector<int64_t> kernel;
  std::vector<int64_t> strides;
  std::vector<int64_t> dilations;
  /// Elements added before and after each spatial dimension.
  std::vector<int64_t> pads_begin;
  std::vector<int64_t> pads_end;

  /// Whether as much is added before as after, everywhere.
  bool IsSymmetric() const;
};

/// Attributes as a node gives them; lengths are filled in when the rank is known.
class WindowAttributes {
 public:
  /// Reads kernel_shape, strides, dilations, pads and auto_pad; INVALID_ARGUMENT names a value that makes no sense.
  static absl::StatusOr<WindowAttributes> Read(const Node& node);

  /// Returns the window for an input, with auto_pad worked out. `kernel` is taken where the node gives no kernel_shape.
  /// Throws c10::Error where lengths don't fit the input's rank.
  Window For(const at::Tensor& input, at::IntArrayRef kernel) const;

  const std::string& auto_pad() const { return auto_pad_; }

 private:
  std::vector<int64_t> kernel_;
  std::vector<int64_t> strides_;
  std::vector<int64_t> dilations_;
  std::vector<int64_t> pads_;
  std::string auto_pad_;
};

/// Pads the spatial dimensions with `value`; negative amounts crop.
at::Tensor PadSpatial(const at::Tensor& input, const std::vector<int64_t>& begin, const std::vector<int64_t>& end,
                      double value);

}  // namespace pactory::quant

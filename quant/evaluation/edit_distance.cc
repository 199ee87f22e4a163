#include "quant/evaluation/edit_distance.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>
#include <vector>

namespace pactory::quant {
namespace {

absl::Span<const int64_t> SequenceOf(const at::Tensor& rows, int64_t index) {
  const int64_t* first = rows.const_data_ptr<int64_t>() + index * rows.size(1);
  return {first, static_cast<size_t>(std::find(first, first + rows.size(1), -1) - first)};
}

}  // namespace

int64_t EditDistance(absl::Span<const int64_t> from, absl::Span<const int64_t> to) {
  // distances[j]: from the part of `from` read so far to the first j of `to`.
  std::vector<int64_t> distances(to.size() + 1);
  std::iota(distances.begin(), distances.end(), 0);
  for (size_t i = 0; i < from.size(); ++i) {
    int64_t diagonal = distances[0]++;
    for (size_t j = 0; j < to.size(); ++j) {
      const int64_t replaced = diagonal + (from[i] == to[j] ? 0 : 1);
      diagonal = distances[j + 1];
      distances[j + 1] = std::min({replaced, diagonal + 1, distances[j] + 1});
    }
  }
  return distances.back();
}

SequenceEdits CountEdits(const at::Tensor& answers, const at::Tensor& expected) {
  const at::Tensor from = answers.contiguous(), to = expected.contiguous();
  SequenceEdits sum;
  for (int64_t i = 0; i < from.size(0); ++i) {
    const absl::Span<const int64_t> right = SequenceOf(to, i);
    sum.edits += EditDistance(SequenceOf(from, i), right);
    sum.characters += static_cast<int64_t>(right.size());
  }
  return sum;
}

}  // namespace pactory::quant

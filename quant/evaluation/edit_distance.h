// How many edits lie between two sequences. Used by the metric of characters and the report. Stateless.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "absl/types/span.h"

namespace pactory::quant {

/// Returns the fewest insertions, deletions and replacements that make one sequence the other (Levenshtein 1966).
int64_t EditDistance(absl::Span<const int64_t> from, absl::Span<const int64_t> to);

/// Edits of a set of sequences.
struct SequenceEdits {
  int64_t edits = 0;
  /// Of what is expected.
  int64_t characters = 0;

  /// The character error rate, which is above 1 where there are more edits than characters; 0 of nothing.
  double rate() const { return characters == 0 ? 0 : static_cast<double>(edits) / static_cast<double>(characters); }
};

/// Sums the edits from `answers` to `expected`, int64 N x L of any two L, each filled up with -1 at its end.
SequenceEdits CountEdits(const at::Tensor& answers, const at::Tensor& expected);

}  // namespace pactory::quant

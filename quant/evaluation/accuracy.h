// Shares of right answers and their uncertainty. Used by the pipeline. Stateless.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "absl/status/statusor.h"

namespace pactory::quant {

/// A share of a number of samples, or of something in them.
struct Accuracy {
  enum class Unit {
    /// Independent of each other.
    kSamples,
    /// Of outputs, like the pixels of a map: neighbours go together, so their number says nothing of the uncertainty.
    kValues,
    /// Of characters; `right` are those that need no edit, below 0 where there are more edits than characters.
    kCharacters,
    /// Of regions, those of both sides.
    kRegions,
    /// Of no parts: a mean that is no share of anything counted, in millionths.
    kMillionths,
  };

  int64_t right = 0;
  int64_t total = 0;
  Unit unit = Unit::kSamples;

  /// right / total; 0 of nothing.
  double share() const { return total == 0 ? 0 : static_cast<double>(right) / static_cast<double>(total); }

  /// Adds samples of the same unit.
  Accuracy& operator+=(const Accuracy& other) {
    right += other.right;
    total += other.total;
    return *this;
  }
};

/// Bounds of a share.
struct Interval {
  double low = 0;
  double high = 1;
};

/// Returns Wilson's score interval at 95 % of a share of samples: it stays inside [0, 1] and holds near 0 and 1 too.
Interval WilsonInterval95(const Accuracy& accuracy);

/// Returns the index of the largest value of each row of `outputs` (N x C, or N x ... x C: one answer per position, as
/// N x ... integers). NaN in a row makes its answer -1.
at::Tensor LargestOutputs(const at::Tensor& outputs);

/// INVALID_ARGUMENT where two sets of answers differ in shape.
absl::Status CheckSameShape(const at::Tensor& answers, const at::Tensor& expected);

/// Returns on which samples two sets of answers are equal (at every position): bool, one per sample. INVALID_ARGUMENT where the
/// shapes differ.
absl::StatusOr<at::Tensor> EqualSamples(const at::Tensor& answers, const at::Tensor& expected);

/// Counts the samples on which two sets of answers are equal. INVALID_ARGUMENT where the shapes differ.
absl::StatusOr<Accuracy> CountEqual(const at::Tensor& answers, const at::Tensor& expected);

}  // namespace pactory::quant

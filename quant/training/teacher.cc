#include "quant/training/teacher.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <utility>

#include "base/status_macros.h"
#include "quant/guard.h"

namespace pactory::quant {
namespace {

constexpr int64_t kMaxCacheBytes = 256 << 20;

}  // namespace

Teacher::Teacher(Executor& executor, std::string logits, int64_t samples, at::Device device)
    : executor_(executor), logits_(std::move(logits)), device_(device), cached_(static_cast<size_t>(samples), false) {}

absl::StatusOr<at::Tensor> Teacher::Compute(const at::Tensor& x) {
  c10::NoGradGuard no_grad;
  PACTORY_ASSIGN_OR_RETURN(std::vector<at::Tensor> outputs, executor_.RunAndFetch({x}, {logits_}));
  return outputs.back();
}

absl::StatusOr<at::Tensor> Teacher::Logits(absl::Span<const int64_t> indices, const at::Tensor& x) {
  const bool all_cached = caching_ == Caching::kOn &&
                          std::all_of(indices.begin(), indices.end(), [&](int64_t i) { return cached_[i]; });
  at::Tensor logits;
  PACTORY_RETURN_IF_ERROR(GuardTorch("teacher", [&]() -> absl::Status {
    const at::Tensor rows = at::tensor(at::ArrayRef<int64_t>(indices.data(), indices.size()), at::kLong).to(device_);
    if (all_cached) {
      logits = cache_.index_select(0, rows);
      return absl::OkStatus();
    }
    PACTORY_ASSIGN_OR_RETURN(logits, Compute(x));
    if (caching_ == Caching::kUndecided) {
      std::vector<int64_t> shape = logits.sizes().vec();
      shape[0] = static_cast<int64_t>(cached_.size());
      const int64_t bytes = logits.numel() / std::max<int64_t>(1, logits.size(0)) * shape[0] * logits.element_size();
      caching_ = bytes <= kMaxCacheBytes ? Caching::kOn : Caching::kOff;
      if (caching_ == Caching::kOn) cache_ = at::empty(shape, logits.options());
    }
    if (caching_ == Caching::kOn && logits.size(0) == static_cast<int64_t>(indices.size())) {
      cache_.index_copy_(0, rows, logits);
      for (const int64_t index : indices) cached_[index] = true;
    }
    return absl::OkStatus();
  }));
  return logits;
}

}  // namespace pactory::quant

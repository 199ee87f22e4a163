#include "quant/data/preprocess.h"

#include <ATen/ATen.h>

#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace pactory::quant {
namespace {

absl::Status CheckLength(int length, int64_t channels, const char* field) {
  if (length <= 1 || length == channels) return absl::OkStatus();
  return InvalidField(field, absl::StrCat("must have one value, or one for each channel: values=", length,
                                          " channels=", channels));
}

}  // namespace

absl::StatusOr<Preprocess> Preprocess::Create(const v1::PreprocessConfig& config, double default_scale,
                                              int64_t channels) {
  const double scale = config.has_scale() ? config.scale() : default_scale;
  if (!std::isfinite(scale)) return InvalidField("preprocess.scale", absl::StrCat("must be finite: value=", scale));
  if (auto status = CheckLength(config.mean_size(), channels, "preprocess.mean"); !status.ok()) return status;
  if (auto status = CheckLength(config.std_size(), channels, "preprocess.std"); !status.ok()) return status;
  const bool by_channel = config.mean_size() > 1 || config.std_size() > 1;
  std::vector<double> factor;
  std::vector<double> offset;
  for (int64_t channel = 0; channel < (by_channel ? channels : 1); ++channel) {
    const int index = static_cast<int>(channel);
    const double mean = config.mean_size() == 0 ? 0 : config.mean(config.mean_size() == 1 ? 0 : index);
    const double std = config.std_size() == 0 ? 1 : config.std(config.std_size() == 1 ? 0 : index);
    if (!std::isfinite(mean)) return InvalidField("preprocess.mean", absl::StrCat("must be finite: value=", mean));
    if (!std::isfinite(std) || std == 0) {
      return InvalidField("preprocess.std", absl::StrCat("must be finite and not 0: value=", std));
    }
    factor.push_back(scale / std);
    offset.push_back(-mean / std);
  }
  Preprocess preprocess;
  preprocess.factor_ = at::tensor(factor, at::kFloat);
  preprocess.offset_ = at::tensor(offset, at::kFloat);
  return preprocess;
}

at::Tensor Preprocess::Apply(const at::Tensor& stored) const {
  at::Tensor values = stored.to(at::kFloat);
  // `to` gives the stored tensor itself where it is float already.
  if (values.is_same(stored)) values = values.clone();
  std::vector<int64_t> shape(std::max<int64_t>(stored.dim(), 2), 1);
  shape[1] = -1;
  if (stored.dim() < 2) shape.assign(1, -1);
  return values.mul_(factor_.reshape(shape)).add_(offset_.reshape(shape));
}

}  // namespace pactory::quant

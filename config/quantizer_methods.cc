#include "config/quantizer_methods.h"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/types/span.h"
#include "base/error.h"

namespace pactory {
namespace {

using Methods = absl::Span<const v1::QuantizerMethod>;

// In the order of the messages: the defaults first.
constexpr std::array kWeightMethods = {v1::CHANNEL_ABS_MAX, v1::CHANNEL_MSE, v1::CHANNEL_LSQ, v1::ABS_MAX, v1::LSQ};
constexpr std::array kActivationMethods = {v1::PACT_TWO_SIDED, v1::PACT,          v1::PACT_AFFINE,
                                           v1::LSQ,            v1::LSQ_PLUS,      v1::MOVING_AVERAGE_ABS_MAX,
                                           v1::RANGE_ABS_MAX,  v1::AFFINE,        v1::ABS_MAX,
                                           v1::POWER_OF_TWO};
constexpr std::array kAffineMethods = {v1::AFFINE, v1::PACT_AFFINE, v1::LSQ_PLUS};

bool Contains(Methods methods, v1::QuantizerMethod method) {
  return std::find(methods.begin(), methods.end(), method) != methods.end();
}

absl::Status Refuse(absl::string_view field, absl::string_view must, Methods allowed, v1::QuantizerMethod method) {
  const std::string names = absl::StrJoin(
      allowed, ", ", [](std::string* out, v1::QuantizerMethod name) { absl::StrAppend(out, v1::QuantizerMethod_Name(name)); });
  return InvalidField(field, absl::StrCat("must be ", must, " (", names, "), not ", v1::QuantizerMethod_Name(method)));
}

}  // namespace

absl::Status CheckWeightMethod(absl::string_view field, v1::QuantizerMethod method) {
  if (Contains(kWeightMethods, method)) return absl::OkStatus();
  return Refuse(field, "a method for weights", kWeightMethods, method);
}

absl::Status CheckActivationMethod(absl::string_view field, v1::QuantizerMethod method) {
  if (Contains(kActivationMethods, method)) return absl::OkStatus();
  return Refuse(field, "a method for activations", kActivationMethods, method);
}

absl::Status CheckSymmetricMethod(absl::string_view field, v1::QuantizerMethod method) {
  if (!Contains(kAffineMethods, method)) return absl::OkStatus();
  std::vector<v1::QuantizerMethod> symmetric(kActivationMethods.begin(), kActivationMethods.end());
  std::erase_if(symmetric, [](v1::QuantizerMethod other) { return Contains(kAffineMethods, other); });
  return Refuse(field, "a method with a symmetric grid, whose zero point is 0,", symmetric, method);
}

}  // namespace pactory

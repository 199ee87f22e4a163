#include "quant/quantizers/registry.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "absl/strings/str_cat.h"

namespace pactory::quant {
namespace {

std::map<int, QuantizerDefinition>& QuantizerTable() {
  static auto* table = new std::map<int, QuantizerDefinition>();
  return *table;
}

absl::Status Invalid(const QuantizerSpec& spec, absl::string_view problem) {
  return absl::InvalidArgumentError(absl::StrCat(problem, ": quantizer=", spec.id, " method=",
                                                 v1::QuantizerMethod_Name(spec.method), " bits=", spec.bits,
                                                 " threshold=", spec.threshold));
}

}  // namespace

QuantizerRegistration::QuantizerRegistration(QuantizerDefinition definition) {
  QuantizerTable().emplace(definition.method, std::move(definition));
}

std::vector<const QuantizerDefinition*> AllQuantizers() {
  std::vector<const QuantizerDefinition*> all;
  for (const auto& [method, definition] : QuantizerTable()) all.push_back(&definition);
  return all;
}

const QuantizerDefinition* FindQuantizer(v1::QuantizerMethod method) {
  const auto found = QuantizerTable().find(method);
  return found == QuantizerTable().end() ? nullptr : &found->second;
}

absl::StatusOr<std::unique_ptr<Quantizer>> MakeQuantizer(const QuantizerSpec& spec) {
  const QuantizerDefinition* definition = FindQuantizer(spec.method);
  if (definition == nullptr) return Invalid(spec, "the method must be one that quantizes");
  const auto& targets = definition->targets;
  if (std::find(targets.begin(), targets.end(), spec.target) == targets.end()) {
    return Invalid(spec, spec.target == QuantizerTarget::kWeight ? "the method is not for weights"
                                                                 : "the method is not for activations");
  }
  if (spec.bits < 2 || spec.bits > 8) return Invalid(spec, "bits must be from 2 to 8");
  if (!std::isfinite(spec.threshold) || spec.threshold <= 0) {
    return Invalid(spec, "the starting range must be finite and above 0");
  }
  return definition->make(spec);
}

}  // namespace pactory::quant

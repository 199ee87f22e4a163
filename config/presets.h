// The presets: named configs, one YAML file each in config/presets/, built into the programs. Stateless.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "pactory/v1/quantization.pb.h"

namespace pactory {

/// A named config.
struct Preset {
  std::string name;
  /// First comment line of its file.
  std::string description;
  /// As written in its file, defaults not filled in.
  v1::QuantizationConfig config;
};

/// Returns all presets by name.
std::vector<Preset> AllPresets();

/// Returns one preset's config; NOT_FOUND lists the names there are.
absl::StatusOr<v1::QuantizationConfig> FindPreset(absl::string_view name);

}  // namespace pactory

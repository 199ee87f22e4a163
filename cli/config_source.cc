#include "cli/config_source.h"

#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "config/config_rules.h"
#include "config/config_text.h"
#include "config/presets.h"

namespace pactory {
namespace {

absl::StatusOr<v1::QuantizationConfig> ReadConfigFile(const std::string& path) {
  PACTORY_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path));
  auto config = ParseConfig(text);
  if (!config.ok()) return Prefixed(config.status(), absl::StrCat(path, ": "));
  return config;
}

}  // namespace

absl::StatusOr<std::string> ReadTextFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) {
    return absl::NotFoundError(absl::StrCat(path, ": the config file can't be read; check the path"));
  }
  return text.str();
}

void AddConfigFlags(CLI::App& command, ConfigSource& source) {
  auto* preset = command.add_option("--preset", source.preset, "Config by name; `pactory presets` lists them");
  command.add_option("--config", source.file, "Config file, YAML or JSON")->excludes(preset);
  command
      .add_option("--set", source.settings,
                  "One field on top, PATH=VALUE, like --set training.steps=500; repeatable, later ones win")
      ->allow_extra_args(false);
}

absl::StatusOr<v1::QuantizationConfig> ReadConfig(const ConfigSource& source) {
  v1::QuantizationConfig config;
  if (!source.preset.empty()) {
    auto preset = FindPreset(source.preset);
    if (!preset.ok()) return Prefixed(preset.status(), "--preset: ");
    config = *std::move(preset);
  }
  if (!source.file.empty()) {
    PACTORY_ASSIGN_OR_RETURN(config, ReadConfigFile(source.file));
  }
  for (const std::string& setting : source.settings) {
    PACTORY_RETURN_IF_ERROR(Prefixed(SetConfigField(config, setting), "--set "));
  }
  v1::QuantizationConfig complete = config;
  FillDefaults(complete);
  PACTORY_RETURN_IF_ERROR(
      Prefixed(ValidateConfig(complete), source.file.empty() ? "config: " : absl::StrCat(source.file, ": ")));
  return config;
}

}  // namespace pactory

// pactory presets [NAME]
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/status_macros.h"
#include "cli/invocation.h"
#include "config/config_rules.h"
#include "config/config_text.h"
#include "config/presets.h"

namespace pactory {
namespace {

absl::StatusOr<ExitCode> PrintPresets(const Invocation& invocation, const std::string& name) {
  std::vector<Preset> presets = AllPresets();
  if (!name.empty()) {
    PACTORY_RETURN_IF_ERROR(FindPreset(name).status());
    std::erase_if(presets, [&](const Preset& preset) { return preset.name != name; });
  }
  nlohmann::json list = nlohmann::json::array();
  for (Preset& preset : presets) {
    FillDefaults(preset.config);
    if (invocation.output == OutputFormat::kJson) {
      list.push_back({{"name", preset.name},
                      {"description", preset.description},
                      {"config", nlohmann::json::parse(ConfigToJson(preset.config), nullptr, false)}});
    } else {
      std::cout << "# " << preset.name << ": " << preset.description << "\n" << ConfigToYaml(preset.config) << "\n";
    }
  }
  if (invocation.output == OutputFormat::kJson) std::cout << (name.empty() ? list : list[0]).dump(2);
  std::cout << std::endl;
  return ExitCode::kDone;
}

}  // namespace

void AddPresetCommand(CLI::App& app, Invocation& invocation) {
  auto name = std::make_shared<std::string>();
  CLI::App* presets =
      app.add_subcommand("presets", "Print the presets with their full config, as YAML that --config takes");
  presets->footer("Example:\n  pactory presets pact_int8 > mine.yaml");
  presets->add_option("name", *name, "Only this one");
  OnCommand(presets, invocation, [&invocation, name] { return PrintPresets(invocation, *name); });
}

}  // namespace pactory

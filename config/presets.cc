#include "config/presets.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/error.h"
#include "config/config_text.h"

namespace pactory {
namespace {

struct EmbeddedFile {
  const char* name;
  const char* text;
};

const EmbeddedFile kFiles[] = {
#include "embedded_presets.inc"
};

}  // namespace

std::vector<Preset> AllPresets() {
  std::vector<Preset> presets;
  for (const EmbeddedFile& file : kFiles) {
    const absl::string_view text = file.text;
    absl::string_view description = text.substr(0, text.find('\n'));
    absl::ConsumePrefix(&description, "# ");
    // The files are ours and a test parses each of them.
    presets.push_back({file.name, std::string(description), ParseConfig(text).value()});
  }
  return presets;
}

absl::StatusOr<v1::QuantizationConfig> FindPreset(absl::string_view name) {
  std::vector<std::string> names;
  for (Preset& preset : AllPresets()) {
    if (preset.name == name) return std::move(preset.config);
    names.push_back(preset.name);
  }
  return WithReason(absl::NotFoundError(absl::StrCat("preset must be one of ", absl::StrJoin(names, ", "), ", not `", name, "`")),
                    "UNKNOWN_PRESET");
}

}  // namespace pactory

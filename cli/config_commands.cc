// pactory config convert
#include <CLI/CLI.hpp>

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_replace.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "cli/config_source.h"
#include "cli/invocation.h"
#include "config/config_text.h"
#include "config/paddleslim.h"

namespace pactory {
namespace {

absl::StatusOr<ExitCode> Convert(const Invocation& invocation, const std::string& path) {
  PACTORY_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path));
  const absl::StatusOr<ConvertedConfig> converted = ConvertPaddleSlim(text);
  if (!converted.ok()) return Prefixed(converted.status(), path + ": ");
  if (invocation.output == OutputFormat::kJson) {
    const nlohmann::json json = {{"config", nlohmann::json::parse(ConfigToJson(converted->config), nullptr, false)},
                                 {"notes", converted->notes}};
    std::cout << json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << std::endl;
    return ExitCode::kDone;
  }
  for (const std::string& note : converted->notes) std::cout << "# " << absl::StrReplaceAll(note, {{"\n", " "}}) << "\n";
  std::cout << ConfigToYaml(converted->config) << std::flush;
  return ExitCode::kDone;
}

}  // namespace

void AddConfigCommands(CLI::App& app, Invocation& invocation) {
  CLI::App* group = app.add_subcommand("config", "Config files");
  group->require_subcommand(1);
  auto from = std::make_shared<std::string>();
  auto path = std::make_shared<std::string>();
  CLI::App* convert = group->add_subcommand("convert", "Print another tool's quantization config as YAML that --config takes");
  convert->footer(
      "Reads PaddleSlim's keys from YAML, JSON or the text of a Python dict. A comment stands for each key that has no counterpart or\n"
      "means something else here; an unknown key or value is an error.\n\n"
      "Example:\n  pactory config convert --from paddleslim quant_config.yml > mine.yaml");
  convert->add_option("--from", *from, "Tool that the file is of")->required()->check(CLI::IsMember({"paddleslim"}));
  convert->add_option("file", *path, "Its config")->required();
  // Both values must live until the line is parsed.
  OnCommand(convert, invocation, [&invocation, from, path] { return Convert(invocation, *path); });
}

}  // namespace pactory

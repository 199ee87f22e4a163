#include "quant/report/manifest.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "config/config_text.h"

namespace pactory::quant {
namespace {

constexpr int64_t kManifestSchema = 1;

// The string at `object`.`key`.
absl::Status ReadText(const nlohmann::json& json, const char* object, const char* key, std::string& text) {
  const auto outer = json.find(object);
  if (outer != json.end() && outer->is_object()) {
    const auto found = outer->find(key);
    if (found != outer->end() && found->is_string()) {
      text = found->get<std::string>();
      return absl::OkStatus();
    }
  }
  return absl::InvalidArgumentError(absl::StrCat("manifest must hold a string: ", object, ".", key));
}

}  // namespace

std::string ManifestToJson(const Manifest& manifest) {
  const EnvironmentReport& environment = manifest.environment;
  const nlohmann::ordered_json json = {
      {"schema", kManifestSchema},
      {"job", manifest.job.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(manifest.job)},
      {"inputs",
       {{"model_sha256", manifest.model_sha256},
        {"train_data_sha256", manifest.train_data_sha256},
        {"eval_data_sha256", manifest.eval_data_sha256}}},
      {"outputs", {{"model.int8.onnx", manifest.output_sha256}, {"report.json", manifest.report_sha256}}},
      {"seed", manifest.config.training().seed()},
      {"versions",
       {{"pactory", environment.pactory_version}, {"libtorch", environment.libtorch_version}, {"runtime", manifest.runtime}}},
      {"environment",
       {{"cpu", environment.cpu},
        {"threads", environment.threads},
        {"device", environment.device},
        {"device_class", environment.device_class}}},
      {"config", nlohmann::ordered_json::parse(ConfigToJson(manifest.config), nullptr, false)},
  };
  return json.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

absl::StatusOr<Manifest> ParseManifest(absl::string_view text) {
  const auto json = nlohmann::json::parse(text.begin(), text.end(), nullptr, false);
  if (!json.is_object()) return absl::InvalidArgumentError("manifest must be a JSON object");
  if (json.value("schema", nlohmann::json()) != nlohmann::json(kManifestSchema)) {
    return absl::InvalidArgumentError(absl::StrCat("manifest's schema must be ", kManifestSchema));
  }
  Manifest manifest;
  PACTORY_RETURN_IF_ERROR(ReadText(json, "inputs", "model_sha256", manifest.model_sha256));
  PACTORY_RETURN_IF_ERROR(ReadText(json, "inputs", "train_data_sha256", manifest.train_data_sha256));
  PACTORY_RETURN_IF_ERROR(ReadText(json, "inputs", "eval_data_sha256", manifest.eval_data_sha256));
  PACTORY_RETURN_IF_ERROR(ReadText(json, "outputs", "model.int8.onnx", manifest.output_sha256));
  PACTORY_RETURN_IF_ERROR(ReadText(json, "outputs", "report.json", manifest.report_sha256));
  PACTORY_RETURN_IF_ERROR(ReadText(json, "versions", "pactory", manifest.environment.pactory_version));
  PACTORY_RETURN_IF_ERROR(ReadText(json, "versions", "libtorch", manifest.environment.libtorch_version));
  PACTORY_RETURN_IF_ERROR(ReadText(json, "versions", "runtime", manifest.runtime));
  PACTORY_RETURN_IF_ERROR(ReadText(json, "environment", "cpu", manifest.environment.cpu));
  PACTORY_RETURN_IF_ERROR(ReadText(json, "environment", "device", manifest.environment.device));
  PACTORY_RETURN_IF_ERROR(ReadText(json, "environment", "device_class", manifest.environment.device_class));
  const auto threads = json["environment"].find("threads");
  if (threads == json["environment"].end() || !threads->is_number_integer() || threads->get<int64_t>() < 1) {
    return absl::InvalidArgumentError("manifest must hold a number of threads of at least 1: environment.threads");
  }
  manifest.environment.threads = threads->get<int64_t>();
  const auto config = json.find("config");
  if (config == json.end()) return absl::InvalidArgumentError("manifest must hold the config");
  auto parsed = ParseConfig(config->dump());
  if (!parsed.ok()) return Prefixed(parsed.status(), "manifest's config: ");
  manifest.config = *std::move(parsed);
  const auto job = json.find("job");
  if (job != json.end() && job->is_string()) manifest.job = job->get<std::string>();
  return manifest;
}

}  // namespace pactory::quant

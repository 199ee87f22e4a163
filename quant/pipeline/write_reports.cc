#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "config/config_text.h"
#include "quant/pipeline/environment.h"
#include "quant/pipeline/stages.h"
#include "quant/pipeline/write_file.h"
#include "quant/report/report_html.h"
#include "quant/report/report_json.h"

namespace pactory::quant {
namespace {

using Json = nlohmann::ordered_json;

// What is needed to run the job again and to tell whether the same came out.
std::string Manifest(const PipelineState& state, absl::string_view report_json) {
  const Report& report = state.report;
  const Json json = {
      {"schema", 1},
      {"job", report.job.empty() ? Json(nullptr) : Json(report.job)},
      {"inputs",
       {{"model_sha256", state.model_sha256},
        {"train_data_sha256", state.train_sha256},
        {"eval_data_sha256", state.eval_sha256}}},
      {"outputs",
       {{"model.int8.onnx", Sha256Hex(state.exported.bytes)}, {"report.json", Sha256Hex(report_json)}}},
      {"seed", state.config.training().seed()},
      {"versions",
       {{"pactory", report.environment.pactory_version},
        {"libtorch", report.environment.libtorch_version},
        {"runtime", absl::StrCat(report.runtime_name, report.runtime_name.empty() ? "" : " ", report.runtime_version)}}},
      {"environment",
       {{"cpu", report.environment.cpu}, {"threads", report.environment.threads}, {"device", report.environment.device}}},
      {"config", Json::parse(ConfigToJson(state.config), nullptr, false)},
  };
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace

absl::Status WriteReports(PipelineState& state) {
  PACTORY_RETURN_IF_ERROR(state.meter.Start("report"));
  state.report.timing = state.meter.timing();
  state.report.environment = DescribeEnvironment(state.device);
  state.report.config = state.config;
  const std::string json = ReportToJson(state.report);
  const std::string folder = absl::StrCat(state.job.output_dir, "/");
  PACTORY_RETURN_IF_ERROR(WriteFile(folder + "report.json", json));
  PACTORY_RETURN_IF_ERROR(WriteFile(folder + "report.html", ReportToHtml(state.report)));
  return WriteFile(folder + "manifest.json", Manifest(state, json));
}

}  // namespace pactory::quant

#include "cli/report_table.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/output.h"

namespace pactory {
namespace {

using Json = nlohmann::json;

// The number at `outer.inner`, or -1.
double NumberAt(const Json& report, const char* outer, const char* inner) {
  if (!report.contains(outer) || !report[outer].is_object()) return -1;
  const Json& object = report[outer];
  return object.contains(inner) && object[inner].is_number() ? object[inner].get<double>() : -1;
}

std::string StageLine(const Json& report, const char* key, const char* label) {
  const double metric = NumberAt(report, key, "metric");
  if (metric < 0) return "";
  std::string line = absl::StrFormat("  %-18s %7.2f%%", label, metric * 100);
  const Json& stage = report[key];
  if (stage.contains("interval95") && stage["interval95"].is_array() && stage["interval95"].size() == 2 &&
      stage["interval95"][0].is_number() && stage["interval95"][1].is_number()) {
    absl::StrAppendFormat(&line, "   95%%: %.2f..%.2f%%", stage["interval95"][0].get<double>() * 100,
                          stage["interval95"][1].get<double>() * 100);
  }
  return absl::StrCat(line, "\n");
}

}  // namespace

std::string ReportTable(absl::string_view report_json) {
  const Json report = Json::parse(report_json.begin(), report_json.end(), nullptr, /*allow_exceptions=*/false);
  if (!report.is_object()) return "";
  std::string text;
  for (const auto& [key, label] : {std::pair{"fp32", "FP32"}, {"ptq", "PTQ"}, {"qat_plain", "plain QAT"},
                                   {"qat", "QAT as trained"}, {"deployed", "deployed"}}) {
    absl::StrAppend(&text, StageLine(report, key, label));
  }
  const double fp32_bytes = NumberAt(report, "size_bytes", "fp32"), int8_bytes = NumberAt(report, "size_bytes", "int8");
  if (fp32_bytes > 0 && int8_bytes >= 0) {
    absl::StrAppendFormat(&text, "  %-18s %s -> %s (%.0f%%)\n", "file size", SizeText(static_cast<int64_t>(fp32_bytes)),
                          SizeText(static_cast<int64_t>(int8_bytes)), int8_bytes / fp32_bytes * 100);
  }
  const double fp32_ms = NumberAt(report, "latency_ms", "fp32"), int8_ms = NumberAt(report, "latency_ms", "int8");
  if (fp32_ms >= 0 && int8_ms >= 0)
    absl::StrAppendFormat(&text, "  %-18s %.3f -> %.3f ms\n", "latency", fp32_ms, int8_ms);
  const double agreement = NumberAt(report, "agreement", "top1");
  if (agreement >= 0)
    absl::StrAppendFormat(&text, "  %-18s %7.2f%%   trained and deployed\n", "agreement", agreement * 100);
  return text;
}

}  // namespace pactory

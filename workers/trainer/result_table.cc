#include "workers/trainer/result_table.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace pactory {
namespace {

std::string Row(absl::string_view name, const std::optional<quant::Accuracy>& accuracy, int64_t bytes,
                const std::optional<double>& latency) {
  if (!accuracy.has_value()) return "";
  std::string line = absl::StrFormat("%-22s %7.2f %%   ", name, 100 * accuracy->share());
  if (accuracy->unit == quant::Accuracy::Unit::kSamples) {
    const quant::Interval interval = quant::WilsonInterval95(*accuracy);
    absl::StrAppendFormat(&line, "%6.2f - %6.2f %%", 100 * interval.low, 100 * interval.high);
  } else {
    absl::StrAppendFormat(&line, "%17s", "");
  }
  if (bytes > 0) absl::StrAppendFormat(&line, "   %9d bytes", bytes);
  if (latency.has_value()) absl::StrAppendFormat(&line, "   %7.2f ms", *latency);
  return line + "\n";
}

}  // namespace

std::string FormatResultTable(const quant::Report& report) {
  std::string table = absl::StrFormat("%-22s %9s   %17s   %15s   %10s\n", report.metric_title, report.metric_name,
                                      "95 % interval", "file", "latency");
  table += Row("FP32", report.fp32, report.fp32_bytes, report.fp32_latency_ms);
  table += Row("PTQ (max |x|)", report.ptq, 0, std::nullopt);
  table += Row("plain QAT", report.qat_plain, 0, std::nullopt);
  table += Row("trained", report.qat, 0, std::nullopt);
  table += Row("deployed", report.deployed, report.int8_bytes, report.int8_latency_ms);
  if (report.agreement_trained.has_value()) {
    const quant::Accuracy::Unit unit = report.agreement_trained->unit;
    const char* of = "";
    if (unit == quant::Accuracy::Unit::kValues) of = "' maps (overlap)";
    if (unit == quant::Accuracy::Unit::kRegions) of = "' regions";
    absl::StrAppendFormat(&table, "deployed = trained on %.2f %%, = FP32 on %.2f %% of %d samples%s\n",
                          100 * report.agreement_trained->share(), 100 * report.agreement_fp32->share(), report.eval_samples,
                          of);
    if (report.deployed_sqnr_db.has_value()) {
      absl::StrAppendFormat(&table, "output SQNR against FP32: deployed %.1f dB\n", *report.deployed_sqnr_db);
    }
  }
  for (const auto& [name, rows] : report.scores) {
    absl::StrAppend(&table, name, ":");
    for (const auto& [row, value] : rows) absl::StrAppendFormat(&table, " %s %.4f", row, value);
    absl::StrAppend(&table, "\n");
  }
  for (const std::string& warning : report.warnings) absl::StrAppend(&table, "note: ", warning, "\n");
  return table;
}

}  // namespace pactory

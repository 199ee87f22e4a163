#include "quant/report/report_html.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "config/config_text.h"
#include "quant/report/html_quantizers.h"
#include "quant/report/html_samples.h"
#include "quant/report/report_style.h"
#include "quant/report/svg_chart.h"

namespace pactory::quant {
namespace {

std::string Percent(const std::optional<Accuracy>& accuracy) {
  return accuracy.has_value() ? absl::StrFormat("%.2f %%", 100 * accuracy->share()) : "–";
}

std::string IntervalOf(const std::optional<Accuracy>& accuracy) {
  if (!accuracy.has_value() || accuracy->unit != Accuracy::Unit::kSamples) return "–";
  const Interval interval = WilsonInterval95(*accuracy);
  return absl::StrFormat("%.2f – %.2f %%", 100 * interval.low, 100 * interval.high);
}

std::string Kilobytes(int64_t bytes) { return absl::StrFormat("%.1f kB", static_cast<double>(bytes) / 1000); }

std::string Milliseconds(const std::optional<double>& value) {
  return value.has_value() ? absl::StrFormat("%.2f ms", *value) : "–";
}

std::string Card(const std::string& label, const std::string& value, const std::string& detail) {
  return absl::StrCat("<div class=\"card\"><div class=\"label\">", label, "</div><div class=\"value\">", value,
                      "</div><div class=\"detail\">", detail, "</div></div>");
}

// What two models have in common, by what the metric compares.
std::string InCommon(const std::optional<Accuracy>& share, int64_t samples) {
  if (share.has_value() && share->unit == Accuracy::Unit::kValues) return absl::StrCat("overlap of the maps of ", samples, " samples");
  if (share.has_value() && share->unit == Accuracy::Unit::kRegions) return absl::StrCat("regions in common, of ", samples, " samples");
  return absl::StrCat("same answer on ", samples, " samples");
}

std::string Cards(const Report& report) {
  const std::optional<Accuracy>& last = report.deployed.has_value() ? report.deployed : report.qat;
  std::string loss = "";
  if (last.has_value() && report.fp32.has_value()) {
    loss = absl::StrFormat("%+.2f points against FP32", 100 * (last->share() - report.fp32->share()));
  }
  const double ratio = report.fp32_bytes > 0 ? 100.0 * static_cast<double>(report.int8_bytes) / static_cast<double>(report.fp32_bytes) : 0;
  std::string html = "<section class=\"cards\">";
  html += Card(absl::StrCat(report.deployed.has_value() ? "Deployed: " : "Trained: ", EscapeHtml(report.metric_title)),
               Percent(last), loss);
  html += Card("Trained = deployed", Percent(report.agreement_trained),
               InCommon(report.agreement_trained, report.eval_samples));
  html += Card("File", Kilobytes(report.int8_bytes), absl::StrFormat("%.1f %% of FP32's %s", ratio, Kilobytes(report.fp32_bytes)));
  html += Card("Latency, one thread", Milliseconds(report.int8_latency_ms),
               absl::StrCat("FP32 ", Milliseconds(report.fp32_latency_ms)));
  return html + "</section>";
}

std::string Row(const std::string& name, const std::optional<Accuracy>& accuracy, const std::string& size,
                const std::string& latency) {
  return absl::StrCat("<tr><td>", name, "</td><td class=\"num\">", Percent(accuracy), "</td><td class=\"num\">",
                      IntervalOf(accuracy), "</td><td class=\"num\">", size, "</td><td class=\"num\">", latency, "</td></tr>");
}

// What the result holds for: the same file gives other answers where other kernels run.
std::string RuntimeTable(const Report& report) {
  if (report.runtimes.empty()) return "";
  std::string html = absl::StrCat("<table><tr><th>The file in</th><th>Kernels</th><th>", EscapeHtml(report.metric_name),
                                  "</th><th>Trained model's answer</th></tr>");
  for (const RuntimeReport& run : report.runtimes) {
    absl::StrAppend(&html, "<tr><td>", EscapeHtml(run.name), " ", EscapeHtml(run.version), "</td><td>",
                    run.optimization == "none" ? "as written, every node by itself"
                                               : absl::StrCat("its default ones for ", EscapeHtml(run.instruction_set)),
                    "</td><td class=\"num\">", Percent(run.accuracy), "</td><td class=\"num\">", Percent(run.agreement_trained),
                    "</td></tr>");
  }
  return html + "</table>";
}

std::string ResultTable(const Report& report) {
  std::string html = absl::StrCat("<section><h2>Result</h2><table><tr><th>Model</th><th>", EscapeHtml(report.metric_title),
                                  "</th><th>95 % interval</th><th>File</th><th>Latency</th></tr>");
  html += Row("FP32, as uploaded", report.fp32, Kilobytes(report.fp32_bytes), Milliseconds(report.fp32_latency_ms));
  html += Row("Post-training quantization (max |x|)", report.ptq, "", "");
  html += Row("Plain quantization-aware training", report.qat_plain, "", "");
  html += Row("Trained", report.qat, "", "");
  html += Row("Deployed in the runtime", report.deployed, Kilobytes(report.int8_bytes), Milliseconds(report.int8_latency_ms));
  html += "</table>";
  if (!report.runtime_name.empty()) {
    absl::StrAppendFormat(&html, "<p>%s %s on %s. The deployed model has %s in common with the trained and %s with the uploaded "
                                 "model (%s).",
                          EscapeHtml(report.runtime_name), EscapeHtml(report.runtime_version),
                          EscapeHtml(report.instruction_set), Percent(report.agreement_trained),
                          Percent(report.agreement_fp32), InCommon(report.agreement_trained, report.eval_samples));
    if (report.deployed_sqnr_db.has_value()) {
      absl::StrAppendFormat(&html, " Its outputs stand %.1f dB above their deviation from the uploaded model's.",
                            *report.deployed_sqnr_db);
    }
    html += "</p>";
  }
  return absl::StrCat(html, RuntimeTable(report), "</section>");
}

std::string ContractSection(const Report& report) {
  if (!report.contract.has_value()) return "";
  const ContractReport& contract = *report.contract;
  std::string html = absl::StrFormat(
      "<section><h2>Contract</h2><p>At most %.2f points lost as deployed: %s.</p><table><tr><th>Rung</th><th></th><th>%s</th><th>Lost, "
      "points</th><th>Steps</th><th>Seconds</th><th></th></tr>",
      100 * contract.max_drop, contract.met ? "kept" : "not kept", EscapeHtml(report.metric_name));
  for (size_t i = 0; i < contract.rungs.size(); ++i) {
    const RungReport& rung = contract.rungs[i];
    absl::StrAppendFormat(&html, "<tr%s><td>%s</td><td>%s</td><td class=\"num\">%s</td><td class=\"num\">%s</td><td class=\"num\">%d</td>"
                                 "<td class=\"num\">%.1f</td><td>%s</td></tr>",
                          static_cast<int64_t>(i) == contract.best ? " class=\"sum\"" : "", rung.name, rung.outcome, Percent(rung.accuracy),
                          rung.drop.has_value() ? absl::StrFormat("%.2f", 100 * *rung.drop) : "–", rung.steps, rung.seconds,
                          EscapeHtml(rung.float_layers.empty() ? rung.note
                                                               : absl::StrCat("in float: ", absl::StrJoin(rung.float_layers, ", "))));
  }
  return html + "</table></section>";
}

std::string Warnings(const Report& report) {
  if (report.warnings.empty()) return "";
  std::string html = "<section class=\"warnings\"><h2>Worth knowing</h2><ul>";
  for (const std::string& warning : report.warnings) absl::StrAppend(&html, "<li>", EscapeHtml(warning), "</li>");
  return html + "</ul></section>";
}

ChartLine LossLine(const std::string& name, const TrainingHistory& history) {
  ChartLine line{.name = name, .points = {}};
  // A short moving average: single batches say little.
  double smooth = 0;
  for (const StepRecord& record : history.steps) {
    smooth = line.points.empty() ? record.loss : 0.9 * smooth + 0.1 * record.loss;
    line.points.emplace_back(static_cast<double>(record.step), smooth);
  }
  return line;
}

ChartLine AccuracyLine(const std::string& name, const TrainingHistory& history) {
  ChartLine line{.name = name, .points = {}};
  for (const EvaluationRecord& record : history.evaluations) {
    line.points.emplace_back(static_cast<double>(record.step), 100 * record.metric);
  }
  return line;
}

// Each alpha as a multiple of where it started: ranges differ by orders of magnitude.
Chart AlphaChart(const TrainingHistory& history) {
  Chart chart{.title = "Every alpha, relative to its start", .x_label = "step", .lines = {}};
  if (history.alphas.empty()) return chart;
  for (size_t i = 0; i < history.alpha_names.size(); ++i) {
    const double start = history.alphas[0].values[i];
    ChartLine line{.name = history.alpha_names[i], .points = {}};
    for (const AlphaRecord& record : history.alphas) {
      line.points.emplace_back(static_cast<double>(record.step), record.values[i] / start);
    }
    chart.lines.push_back(std::move(line));
  }
  return chart;
}

Chart ClippedChart(const TrainingHistory& history) {
  Chart chart{.title = "Values that each quantizer clips, %", .x_label = "step", .lines = {}};
  for (size_t i = 0; i < history.quantizer_names.size(); ++i) {
    ChartLine line{.name = history.quantizer_names[i], .points = {}};
    double largest = 0;
    for (const QuantizerRecord& record : history.quantizers) {
      line.points.emplace_back(static_cast<double>(record.step), 100 * record.clipped_shares[i]);
      largest = std::max(largest, record.clipped_shares[i]);
    }
    if (largest > 0) chart.lines.push_back(std::move(line));
  }
  return chart;
}

std::string Curves(const Report& report) {
  if (report.history.steps.empty()) return "";
  Chart loss{.title = "Training loss", .x_label = "step", .lines = {LossLine("trained", report.history)}};
  Chart accuracy{.title = absl::StrCat(report.metric_title, " on the evaluation set, %"), .x_label = "step",
                 .lines = {AccuracyLine("trained", report.history)}};
  if (report.plain_history.has_value()) {
    loss.lines.push_back(LossLine("plain", *report.plain_history));
    accuracy.lines.push_back(AccuracyLine("plain", *report.plain_history));
  }
  if (report.fp32.has_value()) {
    accuracy.reference_name = "FP32";
    accuracy.reference = 100 * report.fp32->share();
  }
  std::string html = "<section><h2>Training</h2><div class=\"charts\">";
  for (const Chart& chart : {loss, accuracy, AlphaChart(report.history), ClippedChart(report.history)}) {
    const std::string svg = DrawChart(chart);
    if (!svg.empty()) absl::StrAppend(&html, "<figure>", svg, "</figure>");
  }
  return html + "</div></section>";
}

std::string SizeTable(const Report& report) {
  std::string html = "<section><h2>Where the bytes go</h2><table><tr><th></th><th>FP32</th><th>int8</th></tr>";
  const auto row = [&](const char* name, int64_t SizeBreakdown::*part) {
    absl::StrAppend(&html, "<tr><td>", name, "</td><td class=\"num\">", report.fp32_breakdown.*part,
                    "</td><td class=\"num\">", report.int8_breakdown.*part, "</td></tr>");
  };
  row("Weights", &SizeBreakdown::weights);
  row("Scales and zero points", &SizeBreakdown::scales);
  row("Biases", &SizeBreakdown::biases);
  row("Nodes", &SizeBreakdown::nodes);
  row("Names, inputs, outputs", &SizeBreakdown::other);
  absl::StrAppend(&html, "<tr class=\"sum\"><td>Bytes in all</td><td class=\"num\">", report.fp32_bytes,
                  "</td><td class=\"num\">", report.int8_bytes, "</td></tr>");
  return html + "</table></section>";
}

std::string LayerTable(const Report& report) {
  std::string html =
      "<section><h2>Layers</h2><table><tr><th>Layer</th><th>Op</th><th>Weights</th><th>Activations</th><th>Parameters</th>"
      "<th>Bytes as float</th><th>Bytes in the file</th><th>Signal to noise of its output</th><th>Sensitivity</th><th>Of its weights</th><th></th></tr>";
  for (const LayerReport& layer : report.layers) {
    const double bar = layer.sqnr_db.has_value() ? std::clamp(*layer.sqnr_db, 0.0, 50.0) * 2 : 0;
    absl::StrAppendFormat(&html, "<tr><td>%s</td><td>%s</td><td class=\"num\">%d bit</td><td class=\"num\">%d bit</td>"
                                 "<td class=\"num\">%d</td><td class=\"num\">%d</td><td class=\"num\">%d</td><td><span class=\"bar\"><i "
                                 "style=\"width:%.0f%%\"></i></span> %s</td><td class=\"num\">%s</td><td class=\"num\">%s</td><td>%s</td></tr>",
                          EscapeHtml(layer.name), EscapeHtml(layer.op), layer.weight_bits, layer.activation_bits, layer.params,
                          layer.float_bytes, layer.stored_bytes, bar,
                          layer.sqnr_db.has_value() ? absl::StrFormat("%.1f dB", *layer.sqnr_db) : "–",
                          layer.sensitivity.has_value() ? absl::StrFormat("%.3g", *layer.sensitivity) : "–",
                          layer.weight_sensitivity.has_value() ? absl::StrFormat("%.3g", *layer.weight_sensitivity) : "–",
                          EscapeHtml(layer.float_reason));
  }
  return html + "</table></section>";
}

std::string Footer(const Report& report) {
  std::string html = "<section><h2>How it was made</h2><table><tr><th>Stage</th><th>Seconds</th></tr>";
  for (const auto& [stage, seconds] : report.timing) {
    absl::StrAppendFormat(&html, "<tr><td>%s</td><td class=\"num\">%.1f</td></tr>", EscapeHtml(stage), seconds);
  }
  absl::StrAppendFormat(&html, "</table><p>Pactory %s, LibTorch %s, %s, %d threads, device %s.</p>",
                        EscapeHtml(report.environment.pactory_version), EscapeHtml(report.environment.libtorch_version),
                        EscapeHtml(report.environment.cpu), report.environment.threads, EscapeHtml(report.environment.device));
  absl::StrAppend(&html, "<details><summary>Config</summary><pre>", EscapeHtml(ConfigToYaml(report.config)), "</pre></details>");
  return html + "</section>";
}

}  // namespace

std::string ReportToHtml(const Report& report) {
  const std::string title = absl::StrCat("Quantization report", report.job.empty() ? "" : absl::StrCat(" · ", report.job));
  return absl::StrCat("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
                      "content=\"width=device-width, initial-scale=1\"><title>",
                      EscapeHtml(title), "</title><style>", kReportStyle, "</style></head><body><main><h1>", EscapeHtml(title),
                      "</h1>", Cards(report), ResultTable(report), ContractSection(report), Warnings(report), ComparisonSection(report), Curves(report), SizeTable(report),
                      ClassSection(report), FlipSection(report), LayerTable(report), QuantizerSections(report), Footer(report), "</main></body></html>\n");
}

}  // namespace pactory::quant

#include "quant/report/report_json.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "config/config_text.h"

namespace pactory::quant {
namespace {

using Json = nlohmann::ordered_json;

// JSON has no NaN and no infinity.
Json Number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json OptionalWhole(const std::optional<int64_t>& value) { return value.has_value() ? Json(*value) : Json(nullptr); }

Json OptionalNumber(const std::optional<double>& value) { return value.has_value() ? Number(*value) : Json(nullptr); }

Json Measured(const std::optional<Accuracy>& accuracy) {
  if (!accuracy.has_value()) return nullptr;
  Json interval = nullptr;
  if (accuracy->unit == Accuracy::Unit::kSamples) {
    const Interval bounds = WilsonInterval95(*accuracy);
    interval = {bounds.low, bounds.high};
  }
  if (accuracy->unit == Accuracy::Unit::kMillionths) {
    return {{"metric", accuracy->share()}, {"interval95", nullptr}, {"right", nullptr}, {"total", nullptr}};
  }
  return {{"metric", accuracy->share()}, {"interval95", interval}, {"right", accuracy->right}, {"total", accuracy->total}};
}

Json Share(const std::optional<Accuracy>& accuracy) {
  return accuracy.has_value() ? Json(accuracy->share()) : Json(nullptr);
}

Json Breakdown(const SizeBreakdown& sizes) {
  return {{"weights", sizes.weights}, {"scales", sizes.scales}, {"biases", sizes.biases}, {"nodes", sizes.nodes},
          {"other", sizes.other}};
}

Json Histogram(const QuantizerReport& quantizer) {
  if (quantizer.histogram.empty()) return nullptr;
  return {{"bin_width", quantizer.bin_width}, {"counts", quantizer.histogram}, {"min", quantizer.least},
          {"max", quantizer.largest}};
}

Json Quantizers(const Report& report) {
  Json list = Json::array();
  for (const QuantizerReport& q : report.quantizers) {
    Json scales = Json::array();
    for (const double scale : q.scales) scales.push_back(scale);
    list.push_back({{"name", q.name},
                    {"node", q.node},
                    {"target", q.target},
                    {"method", q.method},
                    {"bits", q.bits},
                    {"signed", q.is_signed},
                    {"zero_point", OptionalWhole(q.zero_point)},
                    {"stored_type", q.stored_type.empty() ? Json(nullptr) : Json(q.stored_type)},
                    {"scale", q.scales.size() == 1 ? scales[0] : scales},
                    {"alpha", OptionalNumber(q.alpha)},
                    {"alpha_initial", OptionalNumber(q.alpha_initial)},
                    {"low", OptionalNumber(q.low)},
                    {"low_initial", OptionalNumber(q.low_initial)},
                    {"clipped_share", OptionalNumber(q.clipped_share)},
                    {"calibration_batches", OptionalWhole(q.calibration_batches)},
                    {"stable_after_batches", OptionalWhole(q.stable_after_batches)},
                    {"largest_sample", OptionalWhole(q.largest_sample)},
                    {"histogram", Histogram(q)}});
  }
  return list;
}

Json Layers(const Report& report) {
  Json list = Json::array();
  for (const LayerReport& layer : report.layers) {
    list.push_back({{"name", layer.name},
                    {"op", layer.op},
                    {"params", layer.params},
                    {"precision", layer.precision},
                    {"float_reason", layer.float_reason.empty() ? Json(nullptr) : Json(layer.float_reason)},
                    {"weight_bits", layer.weight_bits},
                    {"activation_bits", layer.activation_bits},
                    {"weight_method", layer.weight_method.empty() ? Json(nullptr) : Json(layer.weight_method)},
                    {"activation_method", layer.activation_method.empty() ? Json(nullptr) : Json(layer.activation_method)},
                    {"sqnr_db", OptionalNumber(layer.sqnr_db)},
                    {"sensitivity", OptionalNumber(layer.sensitivity)},
                    {"weight_sensitivity", OptionalNumber(layer.weight_sensitivity)},
                    {"float_bytes", layer.float_bytes},
                    {"stored_bytes", layer.stored_bytes},
                    {"weight_range", layer.weight_range.empty() ? Json(nullptr) : Json(layer.weight_range)},
                    {"pair_sum", OptionalNumber(layer.pair_sum)},
                    {"dead_channels", layer.dead_channels},
                    {"raised_channels", layer.raised_channels}});
  }
  return list;
}

Json QuantizerRecords(const TrainingHistory& history) {
  Json steps = Json::array(), values = Json::object();
  for (const QuantizerRecord& record : history.quantizers) steps.push_back(record.step);
  for (size_t i = 0; i < history.quantizer_names.size(); ++i) {
    Json scales = Json::array(), clipped = Json::array(), gradients = Json::array();
    for (const QuantizerRecord& record : history.quantizers) {
      scales.push_back(Number(record.scales[i]));
      clipped.push_back(Number(record.clipped_shares[i]));
      gradients.push_back(Number(record.gradient_norms[i]));
    }
    values[history.quantizer_names[i]] = {{"scale", scales}, {"clipped_share", clipped}, {"gradient_norm", gradients}};
  }
  return {{"step", steps}, {"values", values}};
}

Json Runtimes(const Report& report) {
  Json list = Json::array();
  for (const RuntimeReport& run : report.runtimes) {
    list.push_back({{"name", run.name},
                    {"version", run.version},
                    {"instruction_set", run.instruction_set},
                    {"optimization", run.optimization},
                    {"accuracy", Measured(run.accuracy)},
                    {"agreement_trained", run.agreement_trained.share()}});
  }
  return list;
}

Json ContractOf(const Report& report) {
  if (!report.contract.has_value()) return nullptr;
  Json rungs = Json::array();
  for (const RungReport& rung : report.contract->rungs) {
    rungs.push_back({{"name", rung.name},
                     {"outcome", rung.outcome},
                     {"note", rung.note.empty() ? Json(nullptr) : Json(rung.note)},
                     {"accuracy", Measured(rung.accuracy)},
                     {"drop", OptionalNumber(rung.drop)},
                     {"steps", rung.steps},
                     {"seconds", rung.seconds},
                     {"float_layers", rung.float_layers}});
  }
  return {{"max_drop", report.contract->max_drop},
          {"met", report.contract->met},
          {"best", report.contract->best},
          {"rungs", rungs}};
}

Json Comparisons(const Report& report) {
  Json list = Json::array();
  for (const ComparisonReport& comparison : report.comparisons) {
    list.push_back({{"first", comparison.first},
                    {"second", comparison.second},
                    {"only_first_right", comparison.counts.only_first},
                    {"only_second_right", comparison.counts.only_second},
                    {"p_value", comparison.counts.p_value}});
  }
  return list;
}

Json Classes(const Report& report) {
  Json list = Json::array();
  for (const ClassReport& entry : report.classes) {
    list.push_back({{"label", entry.label},
                    {"samples", entry.samples},
                    {"fp32_right", entry.fp32_right},
                    {"deployed_right", entry.deployed_right}});
  }
  return list;
}

Json Flips(const Report& report) {
  Json list = Json::array();
  for (const FlipReport& flip : report.flips) {
    list.push_back({{"index", flip.index},
                    {"label", flip.label.has_value() ? Json(*flip.label) : Json(nullptr)},
                    {"fp32", flip.fp32},
                    {"deployed", flip.deployed}});
  }
  for (const LineFlipReport& flip : report.line_flips) {
    list.push_back({{"index", flip.index},
                    {"label", flip.label.empty() ? Json(nullptr) : Json(flip.label)},
                    {"fp32", flip.fp32},
                    {"deployed", flip.deployed}});
  }
  return {{"total", report.flips_total}, {"samples", list}};
}

Json Scores(const Report& report) {
  Json scores = Json::object();
  for (const auto& [name, rows] : report.scores) {
    for (const auto& [row, value] : rows) scores[name][row] = Number(value);
  }
  return scores;
}

Json History(const TrainingHistory& history) {
  Json loss = Json::array(), evaluations = Json::array(), steps = Json::array(), alphas = Json::object();
  for (const StepRecord& record : history.steps) {
    loss.push_back({{"step", record.step},
                    {"loss", Number(record.loss)},
                    {"learning_rate", Number(record.learning_rate)},
                    {"gradient_norm", Number(record.gradient_norm)}});
  }
  for (const EvaluationRecord& record : history.evaluations) {
    evaluations.push_back({{"step", record.step}, {"metric", Number(record.metric)}});
  }
  for (const AlphaRecord& record : history.alphas) steps.push_back(record.step);
  for (size_t i = 0; i < history.alpha_names.size(); ++i) {
    Json values = Json::array();
    for (const AlphaRecord& record : history.alphas) values.push_back(Number(record.values[i]));
    alphas[history.alpha_names[i]] = std::move(values);
  }
  return {{"steps", loss},
          {"evaluations", evaluations},
          {"alphas", {{"step", steps}, {"values", alphas}}},
          {"quantizers", QuantizerRecords(history)},
          {"rollbacks", history.rollbacks},
          {"kept_step", history.kept_step},
          {"ended_early", history.ended_early.empty() ? Json(nullptr) : Json(history.ended_early)}};
}

}  // namespace

std::string ReportToJson(const Report& report) {
  Json timing = Json::object();
  for (const auto& [stage, seconds] : report.timing) timing[stage] = timing.value(stage, 0.0) + seconds;
  Json warnings = Json::array();
  for (const std::string& warning : report.warnings) warnings.push_back(warning);
  const Json json = {
      {"schema", 1},
      {"job", report.job.empty() ? Json(nullptr) : Json(report.job)},
      {"metric_name", report.metric_name},
      {"eval_samples", report.eval_samples},
      {"fp32", Measured(report.fp32)},
      {"ptq", Measured(report.ptq)},
      {"qat_plain", Measured(report.qat_plain)},
      {"qat", Measured(report.qat)},
      {"deployed", Measured(report.deployed)},
      {"scores", Scores(report)},
      {"agreement",
       {{"top1", Share(report.agreement_trained)},
        {"top1_fp32", Share(report.agreement_fp32)},
        {"import", Share(report.agreement_import)}}},
      {"sqnr_db",
       {{"trained", OptionalNumber(report.trained_sqnr_db)},
        {"deployed", OptionalNumber(report.deployed_sqnr_db)},
        {"import", OptionalNumber(report.import_sqnr_db)}}},
      {"size_bytes",
       {{"fp32", report.fp32_bytes},
        {"int8", report.int8_bytes},
        {"breakdown", {{"fp32", Breakdown(report.fp32_breakdown)}, {"int8", Breakdown(report.int8_breakdown)}}}}},
      {"latency_ms", {{"fp32", OptionalNumber(report.fp32_latency_ms)}, {"int8", OptionalNumber(report.int8_latency_ms)}}},
      {"runtime",
       {{"name", report.runtime_name},
        {"version", report.runtime_version},
        {"instruction_set", report.instruction_set},
        {"onnx_checker", report.onnx_checker}}},
      {"contract", ContractOf(report)},
      {"runtimes", Runtimes(report)},
      {"comparisons", Comparisons(report)},
      {"classes", Classes(report)},
      {"flips", Flips(report)},
      {"quantizers", Quantizers(report)},
      {"layers", Layers(report)},
      {"training", History(report.history)},
      {"training_plain", report.plain_history.has_value() ? History(*report.plain_history) : Json(nullptr)},
      {"resumed_from_step", report.resumed_from_step},
      {"timing", timing},
      {"environment",
       {{"pactory", report.environment.pactory_version},
        {"libtorch", report.environment.libtorch_version},
        {"cpu", report.environment.cpu},
        {"threads", report.environment.threads},
        {"device", report.environment.device},
        {"device_class", report.environment.device_class}}},
      {"config", Json::parse(ConfigToJson(report.config), nullptr, false)},
      {"warnings", warnings},
      {"lint", report.lint},
  };
  // Names come from the model and may be no UTF-8.
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace pactory::quant

// Computes what the evaluators say of cases that another program made, so that tests can hold them against other implementations:
// reads {"what": "...", "cases": [...]} from standard input and writes an array with an answer for each case.
#include <ATen/ATen.h>

#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "config/config_rules.h"
#include "config/config_text.h"
#include "quant/evaluation/average_precision.h"
#include "quant/evaluation/detected_boxes.h"
#include "quant/evaluation/edit_distance.h"
#include "quant/evaluation/metric.h"
#include "quant/evaluation/region_overlap.h"
#include "quant/evaluation/text_regions.h"
#include "quant/training/loss.h"

namespace pactory::quant {
namespace {

using Json = nlohmann::json;

at::Tensor Values(const Json& test, const char* key, at::ScalarType type) {
  const std::vector<int64_t> shape = test.at(key).at("shape");
  const std::vector<double> values = test.at(key).at("values");
  return at::tensor(values, at::kDouble).to(type).reshape(shape);
}

// Of each sample its regions: {score, category, ignored, corners}.
at::Tensor Rows(const Json& samples) {
  std::vector<std::vector<ScoredRegion>> all;
  for (const Json& regions : samples) {
    std::vector<ScoredRegion>& sample = all.emplace_back();
    for (const Json& region : regions) {
      sample.push_back({.score = region.value("score", 1.0f),
                        .category = region.value("category", int64_t{0}),
                        .ignored = region.value("ignored", false),
                        .corners = region.at("corners").get<std::vector<float>>()});
    }
  }
  return RegionRows(all);
}

Json Regions(const std::vector<ScoredRegion>& regions) {
  Json list = Json::array();
  for (const ScoredRegion& region : regions) {
    list.push_back({{"score", region.score}, {"category", region.category}, {"corners", region.corners}});
  }
  return list;
}

v1::EvaluationConfig Config(const Json& test) {
  v1::QuantizationConfig config = ParseConfig(Json{{"evaluation", test.value("config", Json::object())}}.dump()).value();
  FillDefaults(config);
  return config.evaluation();
}

Json Answer(const std::string& what, const Json& test) {
  if (what == "edits") {
    const SequenceEdits sum = CountEdits(Values(test, "answers", at::kLong), Values(test, "expected", at::kLong));
    return {{"edits", sum.edits}, {"characters", sum.characters}};
  }
  if (what == "ctc_reading") {
    const at::Tensor reading = ReadCtc(Values(test, "outputs", at::kFloat)).contiguous();
    return std::vector<int64_t>(reading.const_data_ptr<int64_t>(), reading.const_data_ptr<int64_t>() + reading.numel());
  }
  if (what == "ctc_loss") return CtcLoss(Values(test, "logits", at::kFloat), Values(test, "labels", at::kLong)).value().item<double>();
  if (what == "boxes") {
    Json samples = Json::array();
    const auto found = FindBoxes(Values(test, "outputs", at::kFloat), Config(test).boxes());
    for (const std::vector<ScoredRegion>& boxes : found.value()) samples.push_back(Regions(boxes));
    return samples;
  }
  if (what == "average_precision") {
    const AveragePrecision precision = MeanAveragePrecision(Rows(test.at("found")), Rows(test.at("expected")));
    return {{"mean", precision.mean}, {"at50", precision.at50}, {"at75", precision.at75}};
  }
  if (what == "text_regions") {
    const v1::EvaluationConfig config = Config(test);
    return Regions(FindTextRegions(Values(test, "map", at::kFloat), config.map_threshold(), config.text_regions()));
  }
  if (what == "overlap") {
    const PolygonOverlap overlap = OverlapOf(test.at("first").get<std::vector<float>>(), test.at("second").get<std::vector<float>>());
    return {{"first", overlap.first}, {"second", overlap.second}, {"both", overlap.both}};
  }
  const RegionCounts counts = CountRegions(Rows(test.at("found")), Rows(test.at("expected")));
  return {{"found", counts.found}, {"expected", counts.expected}, {"common", counts.common}};
}

}  // namespace
}  // namespace pactory::quant

int main() {
  const std::string text(std::istreambuf_iterator<char>(std::cin), {});
  const nlohmann::json input = nlohmann::json::parse(text);
  nlohmann::json answers = nlohmann::json::array();
  for (const nlohmann::json& test : input.at("cases")) answers.push_back(pactory::quant::Answer(input.at("what"), test));
  std::cout << answers.dump() << "\n";
  return 0;
}

#include <ATen/ATen.h>

#include <map>

#include "base/status_macros.h"
#include "quant/data/character_set.h"
#include "quant/pipeline/stages.h"

namespace pactory::quant {
namespace {

// The report is read by people and kept in a database.
constexpr int64_t kMaxClasses = 10000;
constexpr size_t kMaxFlips = 200;
// In the order in which models are made, so that `second` is the later one.
constexpr const char* kRows[] = {"fp32", "ptq", "qat_plain", "qat", "deployed"};

absl::Status CompareRows(PipelineState& state) {
  std::map<std::string, at::Tensor> rows = state.answers, right;
  rows["fp32"] = state.fp32_answers;
  // Without training there is no such row.
  if (state.report.qat.has_value()) rows["qat"] = state.trained_answers;
  for (const auto& [row, answers] : rows) {
    PACTORY_ASSIGN_OR_RETURN(right[row], state.metric.EqualAnswers(answers, ExpectedAnswers(state)));
  }
  for (size_t second = 1; second < std::size(kRows); ++second) {
    for (size_t first = 0; first < second; ++first) {
      if (!right.contains(kRows[first]) || !right.contains(kRows[second])) continue;
      state.report.comparisons.push_back({.first = kRows[first],
                                          .second = kRows[second],
                                          .counts = CompareRight(right[kRows[first]], right[kRows[second]])});
    }
  }
  return absl::OkStatus();
}

absl::Status AddScores(PipelineState& state) {
  std::map<std::string, at::Tensor> rows = state.answers;
  rows["fp32"] = state.fp32_answers;
  if (state.report.qat.has_value()) rows["qat"] = state.trained_answers;
  for (const auto& [row, answers] : rows) {
    if (!answers.defined()) continue;
    PACTORY_ASSIGN_OR_RETURN(const auto scores, state.metric.Scores(answers, ExpectedAnswers(state)));
    for (const auto& [name, value] : scores) state.report.scores[name][row] = value;
  }
  return absl::OkStatus();
}

std::string TextOf(const CharacterSet& characters, const at::Tensor& lines, int64_t index) {
  const at::Tensor line = lines[index].contiguous();
  return characters.Decode({line.const_data_ptr<int64_t>(), static_cast<size_t>(line.numel())});
}

absl::Status ListLineFlips(PipelineState& state, const at::Tensor& last, const at::Tensor& kept) {
  if (!state.config.preprocess().has_characters() || last.dim() != 2) return absl::OkStatus();
  PACTORY_ASSIGN_OR_RETURN(const CharacterSet characters, CharacterSet::Create(state.config.preprocess().characters()));
  const at::Tensor labels = state.eval->labels();
  const bool has_lines = labels.defined() && labels.dim() == 2;
  for (int64_t i = 0; i < kept.numel() && state.report.line_flips.size() < kMaxFlips; ++i) {
    if (kept[i].item<bool>()) continue;
    state.report.line_flips.push_back({.index = i,
                                       .label = has_lines ? TextOf(characters, labels, i) : "",
                                       .fp32 = TextOf(characters, state.fp32_answers, i),
                                       .deployed = TextOf(characters, last, i)});
  }
  return absl::OkStatus();
}

void CountClasses(PipelineState& state, const at::Tensor& last) {
  const at::Tensor labels = state.eval->labels();
  const int64_t classes = state.eval->classes_seen();
  if (classes > kMaxClasses) return;
  const auto count = [&](const at::Tensor& chosen) { return at::bincount(labels.index({chosen}), {}, classes); };
  const at::Tensor samples = at::bincount(labels, {}, classes);
  const at::Tensor fp32 = count(state.fp32_answers.eq(labels));
  const at::Tensor deployed = count(last.eq(labels));
  for (int64_t label = 0; label < classes; ++label) {
    if (samples[label].item<int64_t>() == 0) continue;
    state.report.classes.push_back({.label = label,
                                    .samples = samples[label].item<int64_t>(),
                                    .fp32_right = fp32[label].item<int64_t>(),
                                    .deployed_right = deployed[label].item<int64_t>()});
  }
}

void ListFlips(PipelineState& state, const at::Tensor& last) {
  const at::Tensor changed = last.ne(state.fp32_answers).nonzero().reshape({-1});
  const at::Tensor labels = state.eval->labels();
  for (int64_t i = 0; i < changed.numel() && state.report.flips.size() < kMaxFlips; ++i) {
    const int64_t index = changed[i].item<int64_t>();
    FlipReport flip{.index = index,
                    .label = std::nullopt,
                    .fp32 = state.fp32_answers[index].item<int64_t>(),
                    .deployed = last[index].item<int64_t>()};
    if (labels.defined() && labels.dim() == 1) flip.label = labels[index].item<int64_t>();
    state.report.flips.push_back(flip);
  }
}

}  // namespace

absl::Status CompareModels(PipelineState& state) {
  PACTORY_RETURN_IF_ERROR(AddScores(state));
  // Values of a map go together: nothing here holds for them, nor for regions.
  if (!state.metric.counts_samples()) return absl::OkStatus();
  PACTORY_RETURN_IF_ERROR(CompareRows(state));
  const auto deployed = state.answers.find("deployed");
  const at::Tensor& last = deployed == state.answers.end() ? state.trained_answers : deployed->second;
  PACTORY_ASSIGN_OR_RETURN(const at::Tensor kept, state.metric.EqualAnswers(last, state.fp32_answers));
  state.report.flips_total = kept.numel() - kept.sum().item<int64_t>();
  // A sequence of answers per sample has no class and no one answer to list; what CTC reads is a line.
  if (last.dim() != 1) return state.metric.reads_lines() ? ListLineFlips(state, last, kept) : absl::OkStatus();
  if (state.config.evaluation().metric() == v1::EvaluationConfig::TOP1) CountClasses(state, last);
  ListFlips(state, last);
  return absl::OkStatus();
}

}  // namespace pactory::quant

#include "quant/training/training_history.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace pactory::quant {
namespace {

// Rows of doubles as a matrix.
at::Tensor Matrix(const std::vector<std::vector<double>>& rows, int64_t width) {
  at::Tensor matrix = at::empty({static_cast<int64_t>(rows.size()), width}, at::kDouble);
  double* out = matrix.mutable_data_ptr<double>();
  for (const std::vector<double>& row : rows) out = std::copy(row.begin(), row.end(), out);
  return matrix;
}

// Calls `take` with each row of a stored matrix of that width.
template <typename Take>
void EachRow(const Checkpoint& checkpoint, const char* name, int64_t width, Take take) {
  const auto found = checkpoint.find(name);
  if (found == checkpoint.end() || found->second.scalar_type() != at::kDouble || found->second.dim() != 2 ||
      found->second.size(1) != width) {
    return;
  }
  const double* data = found->second.const_data_ptr<double>();
  for (int64_t row = 0; row < found->second.size(0); ++row) take(data + row * width);
}

}  // namespace

void TrainingHistory::Save(Checkpoint& checkpoint) const {
  std::vector<std::vector<double>> step_rows, evaluation_rows, alpha_rows;
  for (const StepRecord& r : steps) {
    step_rows.push_back({static_cast<double>(r.step), r.loss, r.learning_rate, r.gradient_norm});
  }
  for (const EvaluationRecord& r : evaluations) evaluation_rows.push_back({static_cast<double>(r.step), r.metric});
  for (const AlphaRecord& r : alphas) {
    alpha_rows.push_back({static_cast<double>(r.step)});
    alpha_rows.back().insert(alpha_rows.back().end(), r.values.begin(), r.values.end());
  }
  checkpoint["history/steps"] = Matrix(step_rows, 4);
  checkpoint["history/evaluations"] = Matrix(evaluation_rows, 2);
  checkpoint["history/alphas"] = Matrix(alpha_rows, 1 + static_cast<int64_t>(alpha_names.size()));
  const int64_t quantizer_count = static_cast<int64_t>(quantizer_names.size());
  std::vector<std::vector<double>> quantizer_rows;
  for (const QuantizerRecord& r : quantizers) {
    std::vector<double>& row = quantizer_rows.emplace_back(1, static_cast<double>(r.step));
    for (const auto* values : {&r.scales, &r.clipped_shares, &r.gradient_norms}) row.insert(row.end(), values->begin(), values->end());
  }
  checkpoint["history/quantizers"] = Matrix(quantizer_rows, 1 + 3 * quantizer_count);
  checkpoint["history/rollbacks"] = at::full({1}, rollbacks, at::kLong);
}

void TrainingHistory::Load(const Checkpoint& checkpoint) {
  const auto as_step = [](double value) { return static_cast<int64_t>(value); };
  EachRow(checkpoint, "history/steps", 4,
          [&](const double* row) { steps.push_back({as_step(row[0]), row[1], row[2], row[3]}); });
  EachRow(checkpoint, "history/evaluations", 2,
          [&](const double* row) { evaluations.push_back({as_step(row[0]), row[1]}); });
  const int64_t width = 1 + static_cast<int64_t>(alpha_names.size());
  EachRow(checkpoint, "history/alphas", width, [&](const double* row) {
    alphas.push_back({as_step(row[0]), std::vector<double>(row + 1, row + width)});
  });
  const int64_t count = static_cast<int64_t>(quantizer_names.size());
  EachRow(checkpoint, "history/quantizers", 1 + 3 * count, [&](const double* row) {
    const auto part = [&](int64_t index) { return std::vector<double>(row + 1 + index * count, row + 1 + (index + 1) * count); };
    quantizers.push_back({as_step(row[0]), part(0), part(1), part(2)});
  });
  if (const auto found = checkpoint.find("history/rollbacks"); found != checkpoint.end() && found->second.numel() == 1) {
    rollbacks = found->second.to(at::kLong).item<int64_t>();
  }
}

}  // namespace pactory::quant

#include "quant/training/distillation.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <optional>
#include <sstream>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "quant/passes/layer_overrides.h"

namespace pactory::quant {
namespace {

using Config = v1::DistillationTarget;

bool IsOp(const Node* node, absl::string_view op_type) {
  return node != nullptr && node->domain.empty() && node->op_type == op_type;
}

// The node that gave a value its content: those that only move it are passed by.
const Node* ContentProducer(const Graph& graph, const std::string& value) {
  static constexpr std::array<absl::string_view, 6> kMovers = {"Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze",
                                                               "Flatten"};
  const Node* node = graph.Producer(value);
  while (node != nullptr && node->domain.empty() && absl::c_linear_search(kMovers, node->op_type)) {
    node = graph.Producer(node->inputs[0]);
  }
  return node;
}

// Whether a value is written by a linear layer, its bias apart.
bool IsLinear(const Graph& graph, const Node* node) {
  if (IsOp(node, "Gemm") || IsOp(node, "MatMul")) return true;
  if (!IsOp(node, "Add")) return false;
  return absl::c_any_of(node->inputs, [&](const std::string& input) {
    const Node* term = graph.Producer(input);
    return IsOp(term, "MatMul") || IsOp(term, "Gemm");
  });
}

// Whether an output without an activation holds logits of classes: N x C from anywhere, or positions x C from a linear layer.
// Later outputs of a model, and maps, are more often boxes or features.
bool HoldsClassLogits(const Graph& graph, const std::string& value, const Node* producer) {
  const ValueInfo& first = graph.outputs[0];
  if (value != first.name) return false;
  // A file may leave the shape out; an engine for classifiers takes N x C for granted then.
  if (!first.rank_known || first.dims.size() <= 2) return first.dims.size() < 2 || first.dims[1] != 1;
  return first.dims.size() == 3 && IsLinear(graph, producer);
}

void AppendByGraph(const Graph& graph, const std::string& value, double weight, std::vector<DistillationTarget>& targets) {
  const Node* producer = ContentProducer(graph, value);
  DistillationTarget target{.name = value, .teacher = value, .student = {}, .reader = {}, .weight = weight};
  if (IsOp(producer, "Softmax") || IsOp(producer, "LogSoftmax")) {
    target.divergence = Divergence::kSoftmax;
    target.teacher = producer->inputs[0];
    target.reader = producer->name;
    target.joins_axes = graph.opset() < 13;
    target.axis = producer->IntOr("axis", target.joins_axes ? 1 : -1);
  } else if (IsOp(producer, "Sigmoid")) {
    target.divergence = Divergence::kSigmoid;
    target.teacher = producer->inputs[0];
    target.reader = producer->name;
  } else if (IsOp(producer, "Concat")) {
    for (const std::string& part : producer->inputs) {
      if (graph.initializers.contains(part)) continue;
      AppendByGraph(graph, part, weight / static_cast<double>(producer->inputs.size()), targets);
    }
    return;
  } else if (HoldsClassLogits(graph, value, producer)) {
    target.divergence = Divergence::kSoftmax;
  }
  targets.push_back(std::move(target));
}

void AppendAs(const Graph& graph, const std::string& value, Config::Divergence wanted, double weight,
              std::vector<DistillationTarget>& targets) {
  std::vector<DistillationTarget> by_graph;
  AppendByGraph(graph, value, weight, by_graph);
  const auto same = [&](Divergence divergence) { return by_graph.size() == 1 && by_graph[0].divergence == divergence; };
  const auto plain = [&](Divergence divergence) {
    return DistillationTarget{.name = value, .teacher = value, .student = {}, .reader = {}, .divergence = divergence, .weight = weight};
  };
  switch (wanted) {
    case Config::KL:
      if (!same(Divergence::kSoftmax)) by_graph = {plain(Divergence::kSoftmax)};
      break;
    case Config::BINARY_KL:
      if (!same(Divergence::kSigmoid)) by_graph = {plain(Divergence::kSigmoid)};
      break;
    case Config::SQUARED_ERROR:
      by_graph = {plain(Divergence::kSquaredError)};
      break;
    default:
      break;
  }
  targets.insert(targets.end(), by_graph.begin(), by_graph.end());
}

// What is said of one value, by the last entry that matches it.
struct Wish {
  Config::Divergence divergence = Config::DIVERGENCE_UNSPECIFIED;
  double weight = 1;
};

std::string ShapeText(const at::Tensor& tensor) {
  std::ostringstream text;
  text << tensor.sizes();
  return text.str();
}

at::Tensor SoftmaxDivergence(const DistillationTarget& target, double temperature, at::Tensor student, at::Tensor teacher) {
  int64_t axis = target.axis;
  if (target.joins_axes) {
    student = student.flatten(axis, -1);
    teacher = teacher.flatten(axis, -1);
    axis = -1;
  }
  const at::Tensor wanted = at::log_softmax(teacher / temperature, axis);
  return (wanted.exp() * (wanted - at::log_softmax(student / temperature, axis))).sum(axis).mean();
}

// p (log p - log q) + (1 - p) (log(1 - p) - log(1 - q)) with p = sigmoid(teacher), q = sigmoid(student)
at::Tensor SigmoidDivergence(double temperature, const at::Tensor& student, const at::Tensor& teacher) {
  const at::Tensor s = student / temperature;
  const at::Tensor t = teacher / temperature;
  const at::Tensor p = at::sigmoid(t);
  return (p * (at::log_sigmoid(t) - at::log_sigmoid(s)) + (1 - p) * (at::log_sigmoid(-t) - at::log_sigmoid(-s))).mean();
}

at::Tensor NormalizedSquaredError(const at::Tensor& student, const at::Tensor& teacher) {
  // An output that is the same for every input has no variance; its size then says what is large.
  const at::Tensor scale = teacher.var(/*unbiased=*/false) + teacher.square().mean() * 1e-6 + 1e-12;
  return (student - teacher).square().mean() / scale;
}

}  // namespace

absl::StatusOr<std::vector<DistillationTarget>> ChooseTargets(const Graph& graph, const v1::TrainingConfig& config) {
  std::vector<bool> matched(static_cast<size_t>(config.distillation_targets_size()), false);
  const auto wish_for = [&](const std::string& value, const Node* producer) {
    std::optional<Wish> wish;
    for (int i = 0; i < config.distillation_targets_size(); ++i) {
      const Config& entry = config.distillation_targets(i);
      if (!MatchesGlob(entry.name(), value) && (producer == nullptr || !MatchesGlob(entry.name(), producer->name))) continue;
      matched[i] = true;
      wish = Wish{entry.divergence(), entry.has_weight() ? entry.weight() : 1};
    }
    return wish;
  };
  std::vector<DistillationTarget> targets;
  for (const ValueInfo& output : graph.outputs) {
    const Wish wish = wish_for(output.name, graph.Producer(output.name)).value_or(Wish{});
    // Classes, counts and indices are not differentiable.
    if (!at::isFloatingType(output.type)) continue;
    if (wish.weight > 0) AppendAs(graph, output.name, wish.divergence, wish.weight, targets);
  }
  for (const Node& node : graph.nodes) {
    for (const std::string& value : node.outputs) {
      if (value.empty() || graph.IsOutput(value)) continue;
      const std::optional<Wish> wish = wish_for(value, &node);
      if (wish.has_value() && wish->weight > 0) AppendAs(graph, value, wish->divergence, wish->weight, targets);
    }
  }
  for (size_t i = 0; i < matched.size(); ++i) {
    if (matched[i]) continue;
    return InvalidField(absl::StrCat("training.distillation_targets[", i, "].name"),
                        absl::StrCat("must match an output, a value or a node of the model as prepared for quantization "
                                     "(`pactory-trainer inspect` lists its layers), not ",
                                     config.distillation_targets(static_cast<int>(i)).name()));
  }
  if (targets.empty() && config.distillation_loss_weight() > 0) {
    return InvalidField("training.distillation_targets",
                        "must leave a tensor to distill; set distillation_loss_weight to 0 to train on labels alone");
  }
  return targets;
}

void FindStudentValues(const Graph& quantized, std::vector<DistillationTarget>& targets) {
  for (DistillationTarget& target : targets) {
    target.student = target.teacher;
    for (const Node& node : quantized.nodes) {
      if (!target.reader.empty() && node.name == target.reader) target.student = node.inputs[0];
    }
  }
}

absl::StatusOr<at::Tensor> DistillationLoss(const std::vector<DistillationTarget>& targets, double temperature,
                                            const std::vector<at::Tensor>& student, const std::vector<at::Tensor>& teacher) {
  at::Tensor loss;
  for (size_t i = 0; i < targets.size(); ++i) {
    const DistillationTarget& target = targets[i];
    if (student[i].sizes() != teacher[i].sizes() || !student[i].is_floating_point()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "a distilled tensor must be float and of one shape in both models; leave it out by an entry of "
          "training.distillation_targets with weight 0: name=", target.name, " type=", c10::toString(student[i].scalar_type()),
          " quantized=", ShapeText(student[i]), " uploaded=", ShapeText(teacher[i])));
    }
    at::Tensor part;
    switch (target.divergence) {
      case Divergence::kSoftmax:
        part = SoftmaxDivergence(target, temperature, student[i], teacher[i]) * (temperature * temperature);
        break;
      case Divergence::kSigmoid:
        part = SigmoidDivergence(temperature, student[i], teacher[i]) * (temperature * temperature);
        break;
      case Divergence::kSquaredError:
        part = NormalizedSquaredError(student[i], teacher[i]);
        break;
    }
    part = part * target.weight;
    loss = loss.defined() ? loss + part : part;
  }
  return loss;
}

}  // namespace pactory::quant

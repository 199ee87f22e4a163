#include "quant/kernels/pointwise_chain.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <utility>

#include "quant/kernels/pointwise_loops.h"

namespace pactory::quant {
namespace {

using torch::autograd::SavedVariable;
using torch::autograd::variable_list;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// Elements of one task where a run need not be a sample.
constexpr int64_t kRunElements = 16384;

bool HasOperand(const PointwiseStage& stage) {
  return stage.kind == PointwiseStage::Kind::kAdd || stage.kind == PointwiseStage::Kind::kMultiply;
}

// One value for each sample and channel of x.
bool IsPerChannel(const at::Tensor& operand, const at::Tensor& x) {
  if (operand.dim() != x.dim() || x.dim() < 3 || operand.size(0) != x.size(0) || operand.size(1) != x.size(1)) return false;
  return operand.numel() == x.size(0) * x.size(1);
}

// How the operand lies beside x, or nothing where no loop knows it.
std::optional<OperandLayout> LayoutOf(const at::Tensor& operand, const at::Tensor& x) {
  if (!operand.device().is_cpu() || operand.scalar_type() != at::kFloat) return std::nullopt;
  if (operand.sizes() == x.sizes()) {
    return operand.strides() == x.strides() ? std::optional(OperandLayout::kSame) : std::nullopt;
  }
  if (!IsPerChannel(operand, x)) return std::nullopt;
  if (x.is_contiguous()) return OperandLayout::kPerPlane;
  if (x.dim() == 4 && x.is_contiguous(at::MemoryFormat::ChannelsLast)) return OperandLayout::kPerPixel;
  return std::nullopt;
}

// A chain ready to run, and what its gradients need of it.
struct ChainPlan {
  std::vector<PointwiseStage> stages;
  std::vector<OperandLayout> layouts;
  ChainShape shape;

  // They point into the plan.
  std::vector<StageLoop> Loops() const {
    std::vector<StageLoop> loops;
    for (size_t k = 0; k < stages.size(); ++k) {
      const at::Tensor& operand = stages[k].operand;
      loops.push_back({.op = &stages[k], .operand = operand.defined() ? operand.const_data_ptr<float>() : nullptr, .layout = layouts[k]});
    }
    return loops;
  }

  // Whether slopes are 0 or 1 throughout, so that a byte for each element says all that the gradients need.
  bool IsCutsOnly() const {
    for (size_t k = 0; k < stages.size(); ++k) {
      const PointwiseStage& stage = stages[k];
      if (stage.kind == PointwiseStage::Kind::kHardSwish || stage.kind == PointwiseStage::Kind::kMultiply) return false;
      if (layouts[k] != OperandLayout::kSame) return false;
      if (std::any_of(stage.ends.begin(), stage.ends.end(), [](const LearnedEnd& end) { return end.rounding != 0; })) return false;
    }
    return true;
  }
};

std::optional<ChainPlan> PlanOf(const at::Tensor& x, std::vector<PointwiseStage> stages) {
  if (!x.device().is_cpu() || x.scalar_type() != at::kFloat || x.numel() == 0 || stages.size() > kMostChainStages) return std::nullopt;
  ChainPlan plan{.shape = {.count = x.numel(), .run = kRunElements}};
  for (PointwiseStage& stage : stages) {
    OperandLayout layout = OperandLayout::kSame;
    if (HasOperand(stage)) {
      const std::optional<OperandLayout> found = LayoutOf(stage.operand, x);
      if (!found.has_value()) return std::nullopt;
      layout = *found;
    }
    if (layout != OperandLayout::kSame) {
      // Values of a channel lie one after the other, and a sample is one task's, which sums their gradients.
      stage.operand = stage.operand.contiguous();
      plan.shape.channels = x.size(1);
      plan.shape.plane = x.numel() / (x.size(0) * x.size(1));
      plan.shape.run = x.numel() / x.size(0);
    }
    plan.layouts.push_back(layout);
  }
  plan.stages = std::move(stages);
  return plan;
}

// Gradients in the order x, operands, learned ends, each in the order of the stages.
class ChainBackward : public torch::autograd::Node {
 public:
  ChainBackward(ChainPlan plan, const at::Tensor& x, at::Tensor codes) : plan_(std::move(plan)), codes_(std::move(codes)) {
    if (!codes_.defined()) x_ = SavedVariable(x, /*is_output=*/false);
    strides_ = x.strides().vec();
    // What a gradient does not need is not kept alive, and the rest is watched for changes by LibTorch.
    for (PointwiseStage& stage : plan_.stages) {
      for (LearnedEnd& end : stage.ends) end.value = at::Tensor();
      if (!HasOperand(stage)) continue;
      operands_.push_back(codes_.defined() ? SavedVariable() : SavedVariable(stage.operand, /*is_output=*/false));
      operand_sizes_.push_back(stage.operand.sizes().vec());
      stage.operand = at::Tensor();
    }
  }

  std::string name() const override { return "PointwiseChainBackward"; }

  void release_variables() override {
    x_.reset_data();
    codes_ = at::Tensor();
    for (SavedVariable& operand : operands_) operand.reset_data();
    released_ = true;
  }

  variable_list apply(variable_list&& gradients) override {
    TORCH_CHECK(!released_, "a chain's gradient is worked out once");
    at::Tensor dy = std::move(gradients[0]);
    if (!dy.defined()) return variable_list(num_outputs());
    at::Tensor x;
    if (!codes_.defined()) x = x_.unpack();
    ChainPlan plan = plan_;
    size_t next = 0;
    for (PointwiseStage& stage : plan.stages) {
      if (HasOperand(stage) && !codes_.defined()) stage.operand = operands_[next].unpack();
      next += HasOperand(stage) ? 1 : 0;
    }
    const at::TensorOptions options = dy.options().dtype(at::kFloat);
    if (dy.strides() != at::IntArrayRef(strides_) || dy.scalar_type() != at::kFloat) {
      dy = at::empty_strided(dy.sizes(), strides_, options).copy_(dy);
    }
    variable_list results(num_outputs());
    ChainGradients targets;
    const bool wants_x = task_should_compute_output(0);
    // Nobody else reads this gradient any more: its memory serves for the one to come.
    const bool in_place = dy.use_count() == 1 && dy.storage().use_count() == 1 && !dy.requires_grad();
    if (wants_x) {
      results[0] = in_place ? dy : at::empty_strided(dy.sizes(), strides_, options);
      targets.dx = results[0].mutable_data_ptr<float>();
    }
    size_t output = 1;
    next = 0;
    for (size_t k = 0; k < plan.stages.size(); ++k) {
      float* to = nullptr;
      if (HasOperand(plan.stages[k])) {
        if (task_should_compute_output(output)) {
          // The first sum's operand has x's own gradient.
          if (k == 0 && wants_x && plan.stages[k].kind == PointwiseStage::Kind::kAdd && plan.layouts[k] == OperandLayout::kSame) {
            results[output] = results[0];
          } else {
            const bool same = plan.layouts[k] == OperandLayout::kSame;
            results[output] = same ? at::empty_strided(dy.sizes(), strides_, options) : at::empty(operand_sizes_[next], options);
            to = results[output].mutable_data_ptr<float>();
          }
        }
        ++output;
        ++next;
      }
      targets.operands.push_back(to);
    }
    if (codes_.defined()) {
      ChainBackwardByCodes(dy.const_data_ptr<float>(), codes_.const_data_ptr<CutCode>(), plan.shape, plan.Loops(), targets);
    } else {
      ChainBackwardByValues(dy.const_data_ptr<float>(), x.const_data_ptr<float>(), plan.shape, plan.Loops(), targets);
    }
    for (size_t k = 0; k < plan.stages.size(); ++k) {
      const StageSums& sums = targets.sums[k];
      for (const LearnedEnd& end : plan.stages[k].ends) {
        const double gradient = end.above * sums.above + end.below * sums.below + end.rounding * sums.rounding;
        if (task_should_compute_output(output)) results[output] = at::full({1}, gradient, options);
        ++output;
      }
    }
    return results;
  }

 private:
  // Its tensors are those of operands_.
  ChainPlan plan_;
  SavedVariable x_;
  at::Tensor codes_;
  std::vector<SavedVariable> operands_;
  std::vector<std::vector<int64_t>> operand_sizes_;
  std::vector<int64_t> strides_;
  bool released_ = false;
};

}  // namespace

PointwiseStage ReluStage() {
  return {.kind = PointwiseStage::Kind::kClip,
          .first = 0,
          .last = kInfinity,
          .lower = std::numeric_limits<float>::denorm_min(),
          .upper = kInfinity};
}

PointwiseStage ClipStage(double low, double high) {
  const auto first = static_cast<float>(low), last = static_cast<float>(high);
  return {.kind = PointwiseStage::Kind::kClip, .first = first, .last = last, .lower = first, .upper = std::nextafter(last, kInfinity)};
}

PointwiseStage HardSwishStage() { return {.kind = PointwiseStage::Kind::kHardSwish}; }

PointwiseStage AddStage(const at::Tensor& operand) { return {.kind = PointwiseStage::Kind::kAdd, .operand = operand}; }

PointwiseStage MultiplyStage(const at::Tensor& operand) { return {.kind = PointwiseStage::Kind::kMultiply, .operand = operand}; }

std::optional<at::Tensor> RunPointwiseChain(at::Tensor x, std::vector<PointwiseStage> stages) {
  // The loops run over memory in whatever order it lies, so any layout without gaps will do.
  if (!x.is_non_overlapping_and_dense()) x = x.contiguous();
  std::optional<ChainPlan> plan = PlanOf(x, std::move(stages));
  if (!plan.has_value()) return std::nullopt;
  variable_list inputs = {x};
  for (const PointwiseStage& stage : plan->stages) {
    if (HasOperand(stage)) inputs.push_back(stage.operand);
  }
  for (const PointwiseStage& stage : plan->stages) {
    for (const LearnedEnd& end : stage.ends) inputs.push_back(end.value);
  }
  const bool differentiates = torch::autograd::compute_requires_grad(inputs);
  at::Tensor codes;
  if (differentiates && plan->IsCutsOnly()) codes = at::empty({x.numel()}, x.options().dtype(at::kByte));
  at::Tensor y = at::empty_strided(x.sizes(), x.strides(), x.options());
  ChainForwardLoop(x.const_data_ptr<float>(), y.mutable_data_ptr<float>(), codes.defined() ? codes.mutable_data_ptr<CutCode>() : nullptr,
                   plan->shape, plan->Loops());
  if (!differentiates) return y;
  const auto edges = torch::autograd::collect_next_edges(inputs);
  std::shared_ptr<ChainBackward> node(new ChainBackward(*std::move(plan), x, std::move(codes)), torch::autograd::deleteNode);
  node->set_next_edges(torch::autograd::edge_list(edges));
  torch::autograd::set_history(y, node);
  return y;
}

}  // namespace pactory::quant

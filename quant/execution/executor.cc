#include "quant/execution/executor.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "quant/allocation_limit.h"
#include "quant/guard.h"
#include "quant/kernels/pointwise_chain.h"
#include "quant/onnx/tensor.h"

namespace pactory::quant {
namespace {

constexpr int kAbsent = -1;

// A run may hold this much, and so many times what the model and its inputs hold: nets of any kind stay far below, and a small
// file whose data ask for a huge tensor is refused.
constexpr int64_t kLeastMemory = int64_t{1} << 29;
constexpr int64_t kMostGrowthOfParameters = 256;
constexpr int64_t kMostGrowthOfInputs = 4096;

std::string LabelOf(const Node& node) { return absl::StrCat("node ", node.name, " (", node.op_type, ")"); }

bool IsPactory(const Node& node) { return node.domain == "pactory"; }

absl::Status RefuseUnsupported(const Graph& graph) {
  const std::vector<const Node*> unsupported = UnsupportedNodes(graph);
  if (unsupported.empty()) return absl::OkStatus();
  std::string list;
  for (const Node* node : unsupported) {
    const auto opset = graph.opsets.find(node->domain);
    absl::StrAppend(&list, list.empty() ? "" : ", ", node->op_type, " (node ", node->name, ", domain ",
                    node->domain.empty() ? "ai.onnx" : node->domain, ", opset ",
                    opset == graph.opsets.end() ? 1 : opset->second, ")");
  }
  return WithReason(absl::UnimplementedError(absl::StrCat("ops must be supported, these are not: ", list)),
                    "UNSUPPORTED_OP");
}

absl::StatusOr<Kernel> BindNode(const Graph& graph, const Node& node, const KernelFactory& factory) {
  absl::StatusOr<Kernel> kernel = absl::InternalError("not bound");
  const absl::Status guarded = GuardTorch("attributes", [&] {
    if (!IsPactory(node)) {
      kernel = FindOp(graph, node)->bind(node, graph.opset());
    } else if (factory) {
      kernel = factory(node);
    } else {
      kernel = absl::FailedPreconditionError("quantizer nodes need a kernel factory");
    }
    return absl::OkStatus();
  });
  if (!guarded.ok()) return Prefixed(guarded, absl::StrCat(LabelOf(node), ": "));
  if (!kernel.ok()) return Prefixed(kernel.status(), absl::StrCat(LabelOf(node), ": "));
  return kernel;
}

// Names of the 4-d weights that the graph's weighted ops read, directly or through quantizers and what folds into them.
std::vector<std::string> ImageWeights(const Graph& graph) {
  std::vector<std::string> names;
  for (const Node& node : graph.nodes) {
    if (IsPactory(node)) continue;
    const OpDefinition* op = FindOp(graph, node);
    if (op->role != QuantizationRole::kWeighted || op->weight_input >= static_cast<int>(node.inputs.size())) continue;
    std::string name = node.inputs[op->weight_input];
    const Node* before = graph.Producer(name);
    while (before != nullptr && IsPactory(*before) && !before->inputs.empty()) {
      name = before->inputs[0];
      before = graph.Producer(name);
    }
    const auto weight = graph.initializers.find(name);
    if (weight == graph.initializers.end()) continue;
    if (weight->second.dim() == 4 && weight->second.is_floating_point()) names.push_back(name);
  }
  return names;
}

}  // namespace

struct Executor::Plan {
  // One node, bound.
  struct Call {
    Kernel kernel;
    // Slots; kAbsent where an optional input or output is left out.
    std::vector<int> inputs;
    std::vector<int> outputs;
    std::string label;
  };

  // A node of a chain as its stage.
  struct Stage {
    StageMaker make;
    // Slots; `other` is kAbsent where there is no other operand.
    int input = kAbsent;
    int other = kAbsent;
    int output = kAbsent;
  };

  // A node, or a chain of nodes that may run as one.
  struct Step {
    std::vector<Call> calls;
    // Of a chain, one for each call; else empty.
    std::vector<Stage> stages;
    // Slots that no later step reads.
    std::vector<int> release;
  };

  // A parameter and the slot it is put into before each run.
  struct ParameterSlot {
    const at::Tensor* tensor;
    int slot;
  };

  std::map<std::string, at::Tensor> parameters;
  std::vector<ParameterSlot> parameter_slots;
  std::vector<int> input_slots;
  std::vector<int> output_slots;
  std::vector<Step> steps;
  std::unordered_map<std::string, int> slot_of;
  // Depthwise convolutions run several times faster on channels_last, forwards and backwards.
  bool channels_last = false;
  // Empty between runs; kept for its memory.
  std::vector<at::Tensor> slots;

  int SlotOf(const std::string& value) {
    if (value.empty()) return kAbsent;
    return slot_of.emplace(value, static_cast<int>(slot_of.size())).first->second;
  }

  absl::Status PlanSteps(const Graph& graph, const KernelFactory& factory, const StageFactory& stages);
  void PlanReleases();
  // Number of steps until all of `wanted` are written.
  size_t StepsUntil(const std::vector<int>& wanted) const;
  // Runs the first `count` steps and appends the slots `wanted` to `results`.
  absl::Status Execute(at::ArrayRef<at::Tensor> inputs, size_t count, const std::vector<int>& wanted,
                       std::vector<at::Tensor>& results);
  absl::Status RunCall(const Call& call, int64_t most_bytes, std::vector<at::Tensor>& arguments);
  // Runs a chain as one. False where that cannot be: somebody wants a value between, or the loops do not serve.
  bool RunChain(const Step& step, const std::vector<char>& kept);
  // What the tensors of one run may hold.
  int64_t MemoryFor(at::ArrayRef<at::Tensor> inputs) const;
};

int64_t Executor::Plan::MemoryFor(at::ArrayRef<at::Tensor> inputs) const {
  int64_t most = kLeastMemory;
  for (const at::Tensor& input : inputs) most += kMostGrowthOfInputs * static_cast<int64_t>(input.nbytes());
  for (const auto& [name, tensor] : parameters) most += kMostGrowthOfParameters * static_cast<int64_t>(tensor.nbytes());
  return most;
}

void Executor::Plan::PlanReleases() {
  std::vector<char> needed(slot_of.size(), 0);
  for (const int slot : output_slots) needed[slot] = 1;
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    for (const Call& call : step->calls) {
      for (const std::vector<int>* touched : {&call.inputs, &call.outputs}) {
        for (const int slot : *touched) {
          if (slot == kAbsent || needed[slot]) continue;
          needed[slot] = 1;
          step->release.push_back(slot);
        }
      }
    }
  }
}

absl::Status Executor::Plan::PlanSteps(const Graph& graph, const KernelFactory& factory, const StageFactory& stages) {
  std::vector<Call> calls;
  for (const Node& node : graph.nodes) {
    Call call{.label = LabelOf(node)};
    PACTORY_ASSIGN_OR_RETURN(call.kernel, BindNode(graph, node, factory));
    for (const std::string& input : node.inputs) call.inputs.push_back(SlotOf(input));
    for (const std::string& output : node.outputs) call.outputs.push_back(SlotOf(output));
    calls.push_back(std::move(call));
  }
  // A chain runs where its last node stands: there all operands of its nodes are written.
  std::map<size_t, std::vector<ChainLink>> chain_at;
  std::set<size_t> earlier;
  for (std::vector<ChainLink>& chain : FindChains(graph, stages)) {
    for (const ChainLink& link : chain) earlier.insert(link.node);
    earlier.erase(chain.back().node);
    chain_at.emplace(chain.back().node, std::move(chain));
  }
  for (size_t index = 0; index < calls.size(); ++index) {
    if (earlier.contains(index)) continue;
    Step step;
    if (const auto chain = chain_at.find(index); chain != chain_at.end()) {
      for (const ChainLink& link : chain->second) {
        step.stages.push_back({.make = link.make,
                               .input = SlotOf(link.input),
                               .other = SlotOf(link.other),
                               .output = calls[link.node].outputs[0]});
        step.calls.push_back(std::move(calls[link.node]));
      }
    } else {
      step.calls.push_back(std::move(calls[index]));
    }
    steps.push_back(std::move(step));
  }
  return absl::OkStatus();
}

bool Executor::Plan::RunChain(const Step& step, const std::vector<char>& kept) {
  if (step.stages.empty()) return false;
  std::vector<PointwiseStage> stages;
  at::Tensor x = slots[step.stages.front().input];
  for (size_t index = 0; index < step.stages.size(); ++index) {
    const Stage& stage = step.stages[index];
    if (index + 1 < step.stages.size() && kept[stage.output]) return false;
    at::Tensor other = stage.other == kAbsent ? at::Tensor() : slots[stage.other];
    // The chain's own value is the one that has the shape of the result.
    if (index == 0 && other.defined() && other.numel() > x.numel()) std::swap(x, other);
    std::optional<PointwiseStage> made = stage.make(other);
    if (!made.has_value()) return false;
    stages.push_back(*std::move(made));
  }
  std::optional<at::Tensor> result = RunPointwiseChain(std::move(x), std::move(stages));
  if (!result.has_value()) return false;
  slots[step.stages.back().output] = *std::move(result);
  return true;
}

absl::Status Executor::Plan::RunCall(const Call& call, int64_t most_bytes, std::vector<at::Tensor>& arguments) {
  arguments.clear();
  for (const int slot : call.inputs) arguments.push_back(slot == kAbsent ? at::Tensor() : slots[slot]);
  std::vector<at::Tensor> results = call.kernel(arguments);
  if (results.size() < call.outputs.size()) {
    return absl::UnimplementedError(absl::StrCat("op gives fewer outputs than the node names: given=", results.size(),
                                                 " named=", call.outputs.size()));
  }
  for (size_t index = 0; index < call.outputs.size(); ++index) {
    // A view holds nothing yet; whoever reads it makes it what it says it is.
    if (results[index].defined()) {
      TORCH_CHECK_WITH(OutOfMemoryError, results[index].numel() <= most_bytes / results[index].element_size(),
                       "a tensor must not be larger than ", most_bytes, " bytes here: dims=", results[index].sizes());
    }
    if (call.outputs[index] != kAbsent) slots[call.outputs[index]] = std::move(results[index]);
  }
  return absl::OkStatus();
}

size_t Executor::Plan::StepsUntil(const std::vector<int>& wanted) const {
  size_t count = steps.size();
  const auto writes_wanted = [&](const Step& step) {
    return std::any_of(step.calls.begin(), step.calls.end(), [&](const Call& call) {
      return std::find_first_of(call.outputs.begin(), call.outputs.end(), wanted.begin(), wanted.end()) != call.outputs.end();
    });
  };
  while (count > 0 && !writes_wanted(steps[count - 1])) --count;
  return count;
}

absl::Status Executor::Plan::Execute(at::ArrayRef<at::Tensor> inputs, size_t count, const std::vector<int>& wanted,
                                     std::vector<at::Tensor>& results) {
  slots.assign(slot_of.size(), at::Tensor());
  std::vector<char> kept(slots.size(), 0);
  for (const int slot : wanted) kept[slot] = 1;
  const Call* current = nullptr;
  std::vector<at::Tensor> arguments;
  const int64_t most_bytes = MemoryFor(inputs);
  const AllocationLimit limited(most_bytes);
  absl::Status status = GuardTorch("run", [&] {
    for (const ParameterSlot& parameter : parameter_slots) slots[parameter.slot] = *parameter.tensor;
    for (size_t index = 0; index < inputs.size(); ++index) {
      const at::Tensor& input = inputs[index];
      const bool image = channels_last && input.dim() == 4 && input.is_floating_point();
      slots[input_slots[index]] = image ? input.contiguous(at::MemoryFormat::ChannelsLast) : input;
    }
    for (size_t index = 0; index < count; ++index) {
      const Step& step = steps[index];
      current = &step.calls.back();
      if (!RunChain(step, kept)) {
        for (const Call& call : step.calls) {
          current = &call;
          PACTORY_RETURN_IF_ERROR(RunCall(call, most_bytes, arguments));
        }
      }
      arguments.clear();
      for (const int slot : step.release) {
        if (!kept[slot]) slots[slot].reset();
      }
    }
    for (const int slot : wanted) results.push_back(slots[slot]);
    return absl::OkStatus();
  });
  arguments.clear();
  slots.clear();
  if (!status.ok() && current != nullptr) status = Prefixed(status, absl::StrCat(current->label, ": "));
  return status;
}

std::vector<const Node*> UnsupportedNodes(const Graph& graph) {
  std::vector<const Node*> unsupported;
  for (const Node& node : graph.nodes) {
    if (!IsPactory(node) && FindOp(graph, node) == nullptr) unsupported.push_back(&node);
    for (const Graph* subgraph : node.Subgraphs()) {
      const std::vector<const Node*> inner = UnsupportedNodes(*subgraph);
      unsupported.insert(unsupported.end(), inner.begin(), inner.end());
    }
  }
  return unsupported;
}

absl::StatusOr<std::unique_ptr<Executor>> Executor::Create(const Graph& graph, const KernelFactory& factory, const StageFactory& stages) {
  PACTORY_RETURN_IF_ERROR(RefuseUnsupported(graph));
  auto plan = std::make_unique<Plan>();
  for (const ValueInfo& input : graph.inputs) plan->input_slots.push_back(plan->SlotOf(input.name));
  PACTORY_RETURN_IF_ERROR(plan->PlanSteps(graph, factory, stages));
  for (const ValueInfo& output : graph.outputs) plan->output_slots.push_back(plan->SlotOf(output.name));
  for (const auto& [name, tensor] : graph.initializers) {
    if (plan->slot_of.count(name) == 0) continue;
    // A leaf of its own: training one executor must not change the graph or another executor.
    plan->parameters[name] = CopyOf(tensor.detach());
  }
  for (const std::string& name : ImageWeights(graph)) {
    plan->channels_last = true;
    plan->parameters[name] = plan->parameters[name].contiguous(at::MemoryFormat::ChannelsLast);
  }
  for (const auto& [name, tensor] : plan->parameters) plan->parameter_slots.push_back({&tensor, plan->SlotOf(name)});
  plan->PlanReleases();
  return std::unique_ptr<Executor>(new Executor(std::move(plan)));
}

Executor::Executor(std::unique_ptr<Plan> plan) : plan_(std::move(plan)) {}
Executor::~Executor() = default;

absl::StatusOr<std::vector<at::Tensor>> Executor::Run(at::ArrayRef<at::Tensor> inputs) {
  return RunAndFetch(inputs, {});
}

absl::Status Executor::CheckInputs(at::ArrayRef<at::Tensor> inputs) const {
  if (inputs.size() != plan_->input_slots.size()) {
    return absl::InvalidArgumentError(absl::StrCat("model must get one tensor for each input: given=", inputs.size(),
                                                   " inputs=", plan_->input_slots.size()));
  }
  for (size_t index = 0; index < inputs.size(); ++index) {
    if (!inputs[index].defined()) {
      return absl::InvalidArgumentError(absl::StrCat("input tensor must be defined: input=", index));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int>> Executor::SlotsOf(const std::vector<std::string>& values) const {
  std::vector<int> slots;
  for (const std::string& value : values) {
    const auto slot = plan_->slot_of.find(value);
    if (slot == plan_->slot_of.end()) {
      return absl::InvalidArgumentError(absl::StrCat("value must be one of the graph: value=", value));
    }
    slots.push_back(slot->second);
  }
  return slots;
}

absl::StatusOr<std::vector<at::Tensor>> Executor::RunAndFetch(at::ArrayRef<at::Tensor> inputs,
                                                              const std::vector<std::string>& values) {
  PACTORY_RETURN_IF_ERROR(CheckInputs(inputs));
  PACTORY_ASSIGN_OR_RETURN(const std::vector<int> fetched, SlotsOf(values));
  std::vector<int> wanted = plan_->output_slots;
  wanted.insert(wanted.end(), fetched.begin(), fetched.end());
  std::vector<at::Tensor> results;
  PACTORY_RETURN_IF_ERROR(plan_->Execute(inputs, plan_->steps.size(), wanted, results));
  return results;
}

absl::StatusOr<std::vector<at::Tensor>> Executor::Fetch(at::ArrayRef<at::Tensor> inputs,
                                                        const std::vector<std::string>& values) {
  PACTORY_RETURN_IF_ERROR(CheckInputs(inputs));
  PACTORY_ASSIGN_OR_RETURN(const std::vector<int> wanted, SlotsOf(values));
  std::vector<at::Tensor> results;
  PACTORY_RETURN_IF_ERROR(plan_->Execute(inputs, plan_->StepsUntil(wanted), wanted, results));
  return results;
}

std::map<std::string, at::Tensor>& Executor::parameters() { return plan_->parameters; }

void Executor::To(at::Device device) {
  for (auto& [name, tensor] : plan_->parameters) {
    if (tensor.is_floating_point() || tensor.element_size() == 1) {
      tensor = tensor.detach().to(device).requires_grad_(tensor.requires_grad());
    }
  }
}

}  // namespace pactory::quant

// If, Loop and Scan, whose bodies are graphs. They stand here and not in quant/ops because they run executors.
#include <ATen/ATen.h>

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "quant/execution/executor.h"
#include "quant/ops/arguments.h"
#include "quant/ops/registry.h"

namespace pactory::quant {
namespace {

// A loop that a model never ends would run as long as the job may.
constexpr int64_t kMostIterations = 100000;

// Counts the iterations of the outermost loop that runs and of all loops inside of it.
class IterationCount {
 public:
  IterationCount() { ++depth_; }
  ~IterationCount() {
    if (--depth_ == 0) spent_ = 0;
  }
  void Next() {
    TORCH_CHECK(++spent_ <= kMostIterations, "a loop must end within ", kMostIterations, " iterations");
  }

 private:
  static thread_local int64_t depth_;
  static thread_local int64_t spent_;
};

thread_local int64_t IterationCount::depth_ = 0;
thread_local int64_t IterationCount::spent_ = 0;

// One subgraph made ready to run.
class Body {
 public:
  static absl::StatusOr<std::shared_ptr<Body>> Prepare(const Node& node, const std::string& attribute) {
    const auto found = node.attributes.find(attribute);
    const auto* graph = found == node.attributes.end() ? nullptr
                                                       : std::get_if<std::shared_ptr<const Graph>>(&found->second);
    if (graph == nullptr) return absl::InvalidArgumentError(absl::StrCat("node must have a graph: attribute=", attribute));
    auto body = std::make_shared<Body>();
    body->captured_ = (*graph)->captured;
    body->inputs_ = (*graph)->inputs.size() - body->captured_.size();
    body->output_infos_ = (*graph)->outputs;
    auto executor = Executor::Create(**graph);
    if (!executor.ok()) return Prefixed(executor.status(), absl::StrCat(attribute, ": "));
    body->executor_ = *std::move(executor);
    return body;
  }

  // How many inputs the body itself names, without what it reads from outside.
  size_t inputs() const { return inputs_; }
  const std::vector<ValueInfo>& outputs() const { return output_infos_; }

  /// Where the node's own inputs end and those that its bodies read from outside begin.
  static size_t OwnInputs(const Node& node) {
    size_t own = node.inputs.size();
    for (const Graph* graph : node.Subgraphs()) {
      for (const int64_t position : graph->captured) own = std::min(own, static_cast<size_t>(position));
    }
    return own;
  }

  std::vector<at::Tensor> Run(std::vector<at::Tensor> inputs, Arguments node_inputs) {
    for (const int64_t position : captured_) inputs.push_back(RequiredInput(node_inputs, position));
    absl::StatusOr<std::vector<at::Tensor>> outputs = executor_->Run(inputs);
    TORCH_CHECK(outputs.ok(), outputs.status().message());
    return *std::move(outputs);
  }

 private:
  std::unique_ptr<Executor> executor_;
  std::vector<int64_t> captured_;
  size_t inputs_ = 0;
  std::vector<ValueInfo> output_infos_;
};

bool IsTrue(const at::Tensor& condition) {
  TORCH_CHECK(condition.numel() == 1, "condition must be one value: dims=", condition.sizes());
  return condition.to(at::kBool).item<bool>();
}

absl::StatusOr<Kernel> BindIf(const Node& node, int64_t) {
  PACTORY_ASSIGN_OR_RETURN(const std::shared_ptr<Body> then_branch, Body::Prepare(node, "then_branch"));
  PACTORY_ASSIGN_OR_RETURN(const std::shared_ptr<Body> else_branch, Body::Prepare(node, "else_branch"));
  for (const auto& branch : {then_branch, else_branch}) {
    if (branch->inputs() != 0 || branch->outputs().size() != node.outputs.size()) {
      return absl::InvalidArgumentError(absl::StrCat("branches must have no inputs and the node's outputs: inputs=",
                                                     branch->inputs(), " outputs=", branch->outputs().size(),
                                                     " node=", node.outputs.size()));
    }
  }
  return Kernel([=](Arguments arguments) {
    return (IsTrue(RequiredInput(arguments, 0)) ? then_branch : else_branch)->Run({}, arguments);
  });
}

// What a loop gives out for each iteration, as one tensor. Without iterations the body's declared shape counts.
at::Tensor Stacked(const std::vector<at::Tensor>& parts, const ValueInfo& info, int64_t axis) {
  if (!parts.empty()) return at::stack(parts, NormalAxis(axis, parts[0].dim() + 1));
  std::vector<int64_t> dims = {0};
  for (const int64_t dim : info.dims) dims.push_back(std::max<int64_t>(dim, 0));
  return at::empty(dims, at::TensorOptions().dtype(info.type));
}

// Inputs: the most iterations, the first condition, then what each iteration hands to the next. The body: iteration,
// condition and the handed values in; condition, handed values and what is collected out.
absl::StatusOr<Kernel> BindLoop(const Node& node, int64_t) {
  PACTORY_ASSIGN_OR_RETURN(const std::shared_ptr<Body> body, Body::Prepare(node, "body"));
  const size_t own = Body::OwnInputs(node);
  if (own < 2 || body->inputs() != own || body->outputs().size() + 1 < own ||
      node.outputs.size() + 1 > body->outputs().size()) {
    return absl::InvalidArgumentError(absl::StrCat("body must fit the node's inputs and outputs: inputs=",
                                                   body->inputs(), " outputs=", body->outputs().size(),
                                                   " node inputs=", own, " node outputs=", node.outputs.size()));
  }
  const size_t carried = own - 2;
  return Kernel([=](Arguments arguments) {
    const at::Tensor limit = OptionalInput(arguments, 0);
    const at::Tensor first = OptionalInput(arguments, 1);
    const int64_t most = limit.defined() ? Integers(limit).at(0) : kMostIterations + 1;
    bool goes_on = !first.defined() || IsTrue(first);
    std::vector<at::Tensor> state;
    for (size_t index = 0; index < carried; ++index) state.push_back(RequiredInput(arguments, index + 2));
    std::vector<std::vector<at::Tensor>> collected(body->outputs().size() - 1 - carried);
    IterationCount count;
    for (int64_t iteration = 0; iteration < most && goes_on; ++iteration) {
      count.Next();
      std::vector<at::Tensor> inputs = {at::scalar_tensor(iteration, at::kLong), at::scalar_tensor(true, at::kBool)};
      inputs.insert(inputs.end(), state.begin(), state.end());
      std::vector<at::Tensor> outputs = body->Run(std::move(inputs), arguments);
      goes_on = IsTrue(outputs[0]);
      for (size_t index = 0; index < carried; ++index) state[index] = outputs[index + 1];
      for (size_t index = 0; index < collected.size(); ++index) {
        collected[index].push_back(outputs[index + 1 + carried]);
      }
    }
    for (size_t index = 0; index < collected.size(); ++index) {
      state.push_back(Stacked(collected[index], body->outputs()[index + 1 + carried], 0));
    }
    return state;
  });
}

// Attributes of Scan with one number for each sequence; zeros where the attribute is left out.
absl::StatusOr<std::vector<int64_t>> PerSequence(const Node& node, const char* name, size_t count) {
  std::vector<int64_t> values = node.IntsOr(name, std::vector<int64_t>(count, 0));
  if (values.size() == count) return values;
  return absl::InvalidArgumentError(absl::StrCat(name, " must have one value for each sequence: values=", values.size(),
                                                 " sequences=", count));
}

// ONNX Scan since opset 9: states and sequences in, states and collected values out.
absl::StatusOr<Kernel> BindScan(const Node& node, int64_t) {
  PACTORY_ASSIGN_OR_RETURN(const std::shared_ptr<Body> body, Body::Prepare(node, "body"));
  const size_t own = Body::OwnInputs(node);
  const int64_t sequences = node.IntOr("num_scan_inputs", 0);
  if (sequences < 1 || static_cast<size_t>(sequences) > own || body->inputs() != own ||
      body->outputs().size() < own - sequences || node.outputs.size() > body->outputs().size()) {
    return absl::InvalidArgumentError(absl::StrCat("body must fit the node's inputs and outputs: inputs=",
                                                   body->inputs(), " outputs=", body->outputs().size(),
                                                   " node inputs=", own, " num_scan_inputs=", sequences));
  }
  const size_t states = own - sequences;
  const size_t results = body->outputs().size() - states;
  PACTORY_ASSIGN_OR_RETURN(const std::vector<int64_t> input_axes, PerSequence(node, "scan_input_axes", sequences));
  PACTORY_ASSIGN_OR_RETURN(const std::vector<int64_t> backwards, PerSequence(node, "scan_input_directions", sequences));
  PACTORY_ASSIGN_OR_RETURN(const std::vector<int64_t> output_axes, PerSequence(node, "scan_output_axes", results));
  PACTORY_ASSIGN_OR_RETURN(const std::vector<int64_t> reversed, PerSequence(node, "scan_output_directions", results));
  return Kernel([=](Arguments arguments) {
    std::vector<at::Tensor> state;
    for (size_t index = 0; index < states; ++index) state.push_back(RequiredInput(arguments, index));
    int64_t length = -1;
    for (int64_t index = 0; index < sequences; ++index) {
      const at::Tensor& sequence = RequiredInput(arguments, states + index);
      const int64_t size = sequence.size(NormalAxis(input_axes[index], sequence.dim()));
      TORCH_CHECK(length < 0 || size == length, "sequences must have one length: ", length, " and ", size);
      length = size;
    }
    std::vector<std::vector<at::Tensor>> collected(results);
    for (int64_t step = 0; step < length; ++step) {
      std::vector<at::Tensor> inputs = state;
      for (int64_t index = 0; index < sequences; ++index) {
        inputs.push_back(at::select(arguments[states + index], input_axes[index],
                                    backwards[index] != 0 ? length - 1 - step : step));
      }
      std::vector<at::Tensor> outputs = body->Run(std::move(inputs), arguments);
      std::move(outputs.begin(), outputs.begin() + static_cast<int64_t>(states), state.begin());
      for (size_t index = 0; index < results; ++index) collected[index].push_back(outputs[states + index]);
    }
    for (size_t index = 0; index < results; ++index) {
      if (reversed[index] != 0) std::reverse(collected[index].begin(), collected[index].end());
      state.push_back(Stacked(collected[index], body->outputs()[states + index], output_axes[index]));
    }
    return state;
  });
}

const OpRegistration kIf({.name = "If", .bind = BindIf});
const OpRegistration kLoop({.name = "Loop", .bind = BindLoop});
const OpRegistration kScan({.name = "Scan", .first_opset = 9, .bind = BindScan});

}  // namespace
}  // namespace pactory::quant

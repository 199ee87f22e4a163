#include "quant/pipeline/moved_model.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace pactory::quant {
namespace {

constexpr double kMove = 1e-6;
constexpr uint64_t kSeed = 1;

at::Tensor Moved(const at::Tensor& x, const at::Generator& generator) {
  const at::Tensor share = at::rand(x.sizes(), generator, at::kFloat).mul_(2 * kMove).sub_(kMove);
  return x + x * share.to(x.options());
}

bool IsInput(const Graph& graph, const std::string& value) {
  return std::any_of(graph.inputs.begin(), graph.inputs.end(), [&](const auto& input) { return input.name == value; });
}

}  // namespace

absl::StatusOr<std::unique_ptr<QuantizedModel>> MakeMovedModel(Graph graph, const std::vector<QuantizerSpec>& specs) {
  const size_t count = graph.nodes.size();
  for (size_t i = 0; i < count; ++i) {
    const std::string value = graph.nodes[i].inputs.empty() ? "" : graph.nodes[i].inputs[0];
    if (graph.nodes[i].op_type != "FakeQuantize" || graph.initializers.contains(value) || IsInput(graph, value)) continue;
    Node move;
    move.domain = "pactory";
    move.op_type = "Move";
    move.name = graph.UniqueNodeName(absl::StrCat(value, "_move"));
    move.inputs = {value};
    move.outputs = {graph.UniqueValueName(absl::StrCat(value, "_moved"))};
    graph.nodes[i].inputs[0] = move.outputs[0];
    graph.nodes.push_back(std::move(move));
  }
  PACTORY_RETURN_IF_ERROR(graph.Sort());
  // One sequence of numbers for the whole model, which goes on from run to run.
  const at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(kSeed);
  return QuantizedModel::Create(graph, specs, [generator](const Node&) -> absl::StatusOr<Kernel> {
    return Kernel([generator](at::ArrayRef<at::Tensor> inputs) { return std::vector<at::Tensor>{Moved(inputs[0], generator)}; });
  });
}

}  // namespace pactory::quant

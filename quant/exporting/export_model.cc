#include "quant/exporting/export_model.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "quant/exporting/fuse_to_qoperators.h"
#include "quant/exporting/lower_quantizers.h"
#include "quant/exporting/serialize_graph.h"
#include "quant/exporting/shorten_names.h"
#include "quant/exporting/upgrade_opset.h"
#include "quant/onnx/tensor.h"

namespace pactory::quant {
namespace {

// A graph that was widened to float32 (passes/widen_floats.h) gives its outputs in the types of the uploaded file.
absl::Status CastOutputs(Graph& graph) {
  for (const ValueInfo& output : graph.outputs) {
    Node* producer = graph.Producer(output.name);
    if (producer == nullptr || !at::isFloatingType(output.type) || output.type == at::kFloat) continue;
    PACTORY_ASSIGN_OR_RETURN(const int64_t type, OnnxTypeOf(output.type));
    if (producer->op_type == "Cast" && producer->IntOr("to", 0) == type) continue;
    const std::string computed = graph.UniqueValueName(output.name + "_float");
    graph.ReplaceUses(output.name, computed);
    std::replace(producer->outputs.begin(), producer->outputs.end(), output.name, computed);
    Node cast;
    cast.op_type = "Cast";
    cast.name = graph.UniqueNodeName(output.name + "_cast");
    cast.inputs = {computed};
    cast.outputs = {output.name};
    cast.attributes["to"] = type;
    graph.nodes.push_back(std::move(cast));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ExportedModel> ExportModel(QuantizedModel& model, const QuantizationPlan& plan, const v1::ExportConfig& config) {
  ExportedModel result;
  PACTORY_ASSIGN_OR_RETURN(Graph graph, LowerQuantizers(model, plan, config, result.raised_channels));
  for (const auto& [weight, channels] : result.raised_channels) {
    result.warnings.push_back(absl::StrCat("the bias behind weight ", weight, " did not fit 32 bits in ", channels,
                                           " channel(s); the scale of their weights was raised"));
  }
  const bool has_int4 = std::any_of(graph.initializers.begin(), graph.initializers.end(),
                                    [](const auto& item) { return item.second.scalar_type() == at::kInt4; });
  PACTORY_RETURN_IF_ERROR(UpgradeOpset(graph, has_int4 ? kInt4Opset : kExportOpset));
  if (config.profile() == v1::ExportConfig::QOPERATOR) FuseToQoperators(graph);
  PACTORY_RETURN_IF_ERROR(CastOutputs(graph));
  PACTORY_RETURN_IF_ERROR(graph.Verify());
  result.layers = MeasureLayerStorage(graph, plan);
  // Last, because messages of the steps before name nodes as their owner knows them.
  ShortenNames(graph);
  PACTORY_ASSIGN_OR_RETURN(result.bytes, SerializeGraph(graph));
  PACTORY_ASSIGN_OR_RETURN(result.sizes, BreakDownSize(result.bytes));
  return result;
}

}  // namespace pactory::quant

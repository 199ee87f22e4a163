#include "quant/exporting/export_model.h"

#include "base/status_macros.h"
#include "quant/exporting/lower_quantizers.h"
#include "quant/exporting/serialize_graph.h"
#include "quant/exporting/shorten_names.h"
#include "quant/exporting/upgrade_opset.h"

namespace pactory::quant {

absl::StatusOr<ExportedModel> ExportModel(QuantizedModel& model, const QuantizationPlan& plan) {
  ExportedModel result;
  PACTORY_ASSIGN_OR_RETURN(Graph graph, LowerQuantizers(model, plan, result.warnings));
  PACTORY_RETURN_IF_ERROR(UpgradeOpset(graph));
  PACTORY_RETURN_IF_ERROR(graph.Verify());
  // Last, because messages of the steps before name nodes as their owner knows them.
  ShortenNames(graph);
  PACTORY_ASSIGN_OR_RETURN(result.bytes, SerializeGraph(graph));
  PACTORY_ASSIGN_OR_RETURN(result.sizes, BreakDownSize(result.bytes));
  return result;
}

}  // namespace pactory::quant

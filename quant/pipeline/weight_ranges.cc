#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "quant/data/data_order.h"
#include "quant/exporting/pair_sums.h"
#include "quant/exporting/quantize_values.h"
#include "quant/guard.h"
#include "quant/pipeline/choose_quantizers.h"
#include "quant/pipeline/stages.h"
#include "quant/quantizers/grid.h"

namespace pactory::quant {
namespace {

// Of the training data, whole activations at a time.
constexpr int64_t kRangeSamples = 64;
constexpr int64_t kRangeBatch = 8;
// Other samples reach further than those that were seen, and training moves the ranges: a layer starts at full range only where its
// sums have room for inputs this much further from 0, as far as their grid goes.
constexpr double kSpare = 1.1;

// A layer that an integer kernel computes, in the graph that is trained.
struct IntegerLayer {
  const Node* node = nullptr;
  const Quantizer* input = nullptr;
  const Quantizer* weight = nullptr;
};

std::vector<IntegerLayer> IntegerLayers(const QuantizedModel& model, const QuantizationPlan& plan) {
  std::vector<IntegerLayer> layers;
  for (const LayerPlan& layer : plan.layers) {
    if (layer.compute != LayerCompute::kInt8) continue;
    for (const Node& node : model.graph().nodes) {
      if (node.name != layer.node) continue;
      layers.push_back({.node = &node, .input = model.Find(layer.input_quantizer), .weight = model.Find(layer.weight_quantizer)});
    }
  }
  return layers;
}

void Widen(StoredRange& range, const StoredRange& other) {
  range = range.low.defined() ? StoredRange{at::minimum(range.low, other.low), at::maximum(range.high, other.high)} : other;
}

// The integers that each layer reads, by input channel, over some training samples.
absl::StatusOr<std::vector<StoredRange>> MeasureRanges(PipelineState& state, QuantizedModel& model,
                                                       const std::vector<IntegerLayer>& layers) {
  c10::NoGradGuard no_grad;
  model.SetMode(QuantizerMode::kFrozen);
  std::vector<std::string> inputs;
  for (const IntegerLayer& layer : layers) inputs.push_back(layer.node->inputs[0]);
  std::vector<StoredRange> ranges(layers.size());
  const std::vector<int64_t> order =
      ShuffledOrder(state.train->size(), static_cast<uint64_t>(state.config.training().seed()), -1);
  const int64_t batch = std::min<int64_t>(kRangeBatch, state.config.training().batch_size());
  const int64_t count = std::min<int64_t>(kRangeSamples, static_cast<int64_t>(order.size())) / batch * batch;
  for (int64_t begin = 0; begin < count; begin += batch) {
    PACTORY_ASSIGN_OR_RETURN(Batch samples, state.train->Read(absl::MakeConstSpan(order).subspan(begin, batch)));
    std::vector<at::Tensor> values;
    PACTORY_ASSIGN_OR_RETURN(values, model.executor().RunAndFetch(OnDevice(std::move(samples.inputs), state.device), inputs));
    PACTORY_RETURN_IF_ERROR(GuardTorch("weight ranges", [&] {
      for (size_t i = 0; i < layers.size(); ++i) {
        const double scale = layers[i].input->Scales({}).item<float>();
        const at::Tensor stored = values[model.graph().outputs.size() + i].div(scale).round().add(StoredZeroPoint(layers[i].input->grid()));
        Widen(ranges[i], RangeByChannel(*layers[i].node, stored));
      }
      return absl::OkStatus();
    }));
  }
  return ranges;
}

StoredRange Spread(const StoredRange& range, Grid grid, double spare) {
  const double zero = static_cast<double>(StoredZeroPoint(grid));
  const auto spread = [&](const at::Tensor& end) {
    return end.sub(zero).mul(spare).clamp(static_cast<double>(grid.qmin), static_cast<double>(grid.qmax)).add(zero);
  };
  return {spread(range.low), spread(range.high)};
}

// The largest pair sum of each weight that an integer kernel reads, by the weight's quantizer, with inputs that are `spare` times as
// far from 0 as those seen.
absl::StatusOr<std::map<std::string, double>> MeasurePairSums(PipelineState& state, QuantizedModel& model, double spare) {
  const std::vector<IntegerLayer> layers = IntegerLayers(model, state.plan);
  PACTORY_ASSIGN_OR_RETURN(const std::vector<StoredRange> ranges, MeasureRanges(state, model, layers));
  std::map<std::string, double> sums;
  PACTORY_RETURN_IF_ERROR(GuardTorch("weight ranges", [&] {
    for (size_t i = 0; i < layers.size(); ++i) {
      const Quantizer& quantizer = *layers[i].weight;
      const at::Tensor weight = model.parameters().at(quantizer.spec().id);
      const at::Tensor stored =
          QuantizeWeight(weight, quantizer.Scales(weight), quantizer.spec().channel_axis, quantizer.grid().qmax);
      double& sum = sums[quantizer.spec().id];
      const Grid grid = layers[i].input->grid();
      sum = std::max(sum, LargestPairSum(*layers[i].node, stored, Spread(ranges[i], grid, spare), StoredZeroPoint(grid)));
    }
    return absl::OkStatus();
  }));
  return sums;
}

absl::StatusOr<std::unique_ptr<QuantizedModel>> MakeModel(PipelineState& state) {
  PACTORY_ASSIGN_OR_RETURN(const std::vector<QuantizerSpec> specs, ChooseQuantizers(state.plan, state.histograms, state.config, state.thresholds));
  PACTORY_ASSIGN_OR_RETURN(std::unique_ptr<QuantizedModel> model, QuantizedModel::Create(state.quantized_graph, specs));
  model->To(state.device);
  return model;
}

// Weights and what quantizers learned, from a model of the same graph.
void TakeOver(QuantizedModel& from, QuantizedModel& to) {
  for (const auto& [name, tensor] : from.parameters()) to.parameters()[name] = tensor.detach().clone();
  for (const auto& quantizer : to.quantizers()) {
    std::map<std::string, at::Tensor> target = quantizer->State();
    for (const auto& [name, tensor] : from.Find(quantizer->spec().id)->State()) target.at(name).copy_(tensor);
  }
}

void ReportPairSums(PipelineState& state, const std::map<std::string, double>& sums) {
  state.pair_sums = sums;
  const int64_t saturating = std::count_if(sums.begin(), sums.end(), [](const auto& item) { return item.second > 1; });
  const auto target = state.config.export_().target();
  if (saturating == 0 || (target != v1::ExportConfig::X86 && target != v1::ExportConfig::TARGET_UNSPECIFIED)) return;
  state.report.warnings.push_back(absl::StrCat(
      "weights of ", saturating, " layer(s) can pass 16-bit pair sums on CPUs without VNNI (layers[].pair_sum above 1); ",
      "weights.range: AUTO reduces the range of such layers"));
}

}  // namespace

absl::Status ChooseWeightRanges(PipelineState& state) {
  const bool by_layer = state.config.weights().range() == v1::WeightConfig::AUTO &&
                        ResolveWeightRange(state.config) == v1::WeightConfig::REDUCED;
  if (!by_layer) return absl::OkStatus();
  // An override's range stands above either.
  for (WeightPlacement& weight : state.plan.weights) weight.range = v1::WeightConfig::FULL;
  PACTORY_ASSIGN_OR_RETURN(const std::unique_ptr<QuantizedModel> model, MakeModel(state));
  PACTORY_ASSIGN_OR_RETURN(const auto sums, MeasurePairSums(state, *model, kSpare));
  for (WeightPlacement& weight : state.plan.weights) {
    const auto sum = sums.find(weight.id);
    if (sum != sums.end() && sum->second > 1) weight.range = v1::WeightConfig::REDUCED;
  }
  return absl::OkStatus();
}

absl::Status CheckWeightRanges(PipelineState& state) {
  PACTORY_RETURN_IF_ERROR(state.meter.Start("check_weight_ranges"));
  PACTORY_ASSIGN_OR_RETURN(auto sums, MeasurePairSums(state, *state.trained, 1));
  std::vector<std::string> repaired;
  for (WeightPlacement& weight : state.plan.weights) {
    const auto sum = sums.find(weight.id);
    const bool saturates = sum != sums.end() && sum->second > 1 && weight.range == v1::WeightConfig::FULL &&
                           weight.override_range == v1::WeightConfig::WEIGHT_RANGE_UNSPECIFIED;
    if (!saturates) continue;
    weight.range = v1::WeightConfig::REDUCED;
    repaired.push_back(weight.node);
  }
  if (!repaired.empty()) {
    PACTORY_ASSIGN_OR_RETURN(std::unique_ptr<QuantizedModel> model, MakeModel(state));
    PACTORY_RETURN_IF_ERROR(GuardTorch("weight ranges", [&] {
      c10::NoGradGuard no_grad;
      TakeOver(*state.trained, *model);
      return absl::OkStatus();
    }));
    state.trained = std::move(model);
    PACTORY_ASSIGN_OR_RETURN(state.trained_answers, AnswersOf(state, *state.trained, 0, 1));
    if (state.report.qat.has_value()) {
      PACTORY_ASSIGN_OR_RETURN(state.report.qat, MeasureMetric(state, state.trained_answers));
    }
    PACTORY_ASSIGN_OR_RETURN(sums, MeasurePairSums(state, *state.trained, 1));
    state.report.warnings.push_back(absl::StrCat(
        "training made the weights of ", repaired.size(),
        " layer(s) pass 16-bit pair sums; they were reduced to 7 bits afterwards: first=", repaired[0]));
  }
  ReportPairSums(state, sums);
  return absl::OkStatus();
}

}  // namespace pactory::quant

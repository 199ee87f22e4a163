#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <utility>

#include "base/status_macros.h"
#include "quant/data/data_order.h"
#include "quant/exporting/stored_grid.h"
#include "quant/guard.h"
#include "quant/pipeline/stages.h"
#include "quant/pipeline/warn_of_ranges.h"
#include "quant/quantizers/clipped.h"
#include "quant/quantizers/grid.h"

namespace pactory::quant {
namespace {

// Enough for two figures of a share or a ratio; whole activations are held, so batches are small.
constexpr int64_t kSamples = 64;
constexpr int64_t kBatch = 8;

struct Power {
  double signal = 0;
  double noise = 0;
};

struct Clipped {
  int64_t clipped = 0;
  int64_t total = 0;
};

struct Measurements {
  // By value name.
  std::map<std::string, Power> layers;
  // By quantizer id.
  std::map<std::string, Clipped> quantizers;
};

absl::Status MeasureBatch(PipelineState& state, const std::vector<at::Tensor>& inputs, const std::vector<std::string>& outputs,
                          const std::vector<std::string>& activations, Measurements& sums) {
  std::vector<std::string> fetched = outputs;
  fetched.insert(fetched.end(), activations.begin(), activations.end());
  std::vector<at::Tensor> reference, quantized;
  PACTORY_ASSIGN_OR_RETURN(reference, state.fp32->RunAndFetch(inputs, outputs));
  PACTORY_ASSIGN_OR_RETURN(quantized, state.trained->executor().RunAndFetch(inputs, fetched));
  return GuardTorch("layer measurement", [&] {
    const size_t first_reference = state.graph.outputs.size();
    for (size_t i = 0; i < outputs.size(); ++i) {
      const at::Tensor exact = reference[first_reference + i].to(at::kDouble);
      const at::Tensor difference = quantized[first_reference + i].to(at::kDouble) - exact;
      sums.layers[outputs[i]].signal += exact.square().sum().item<double>();
      sums.layers[outputs[i]].noise += difference.square().sum().item<double>();
    }
    for (size_t i = 0; i < activations.size(); ++i) {
      const at::Tensor& x = quantized[first_reference + outputs.size() + i];
      Clipped& counts = sums.quantizers[activations[i]];
      counts.clipped += CountClipped(*state.trained->Find(activations[i]), x);
      counts.total += x.numel();
    }
    return absl::OkStatus();
  });
}

QuantizerReport DescribeQuantizer(const Quantizer& quantizer, const at::Tensor& values, const v1::ExportConfig& config) {
  QuantizerReport report;
  const QuantizerSpec& spec = quantizer.spec();
  report.name = spec.id;
  report.target = spec.target == QuantizerTarget::kWeight ? "weight" : "activation";
  report.method = v1::QuantizerMethod_Name(spec.method);
  report.bits = spec.bits;
  report.is_signed = quantizer.grid().qmin < 0;
  if (spec.target == QuantizerTarget::kActivation) {
    const StoredGrid grid = StoreGrid(quantizer.grid(), config);
    report.zero_point = grid.zero_point;
    report.stored_type = grid.type == at::kByte ? "uint8" : "int8";
  }
  const at::Tensor scales = quantizer.Scales(values).to(at::kDouble).contiguous();
  report.scales.assign(scales.const_data_ptr<double>(), scales.const_data_ptr<double>() + scales.numel());
  return report;
}

// As many bins as a plot shows; those behind the largest value are left out.
void AddHistogram(const AbsHistogram& histogram, QuantizerReport& report) {
  constexpr int kMerged = AbsHistogram::kBins / 128;
  report.least = histogram.min();
  report.largest = histogram.max();
  report.bin_width = histogram.range() / AbsHistogram::kBins * kMerged;
  for (int first = 0; first < AbsHistogram::kBins; first += kMerged) {
    const auto begin = histogram.bins().begin() + first;
    report.histogram.push_back(std::accumulate(begin, begin + kMerged, int64_t{0}));
  }
  while (!report.histogram.empty() && report.histogram.back() == 0) report.histogram.pop_back();
}

void ReportQuantizers(PipelineState& state, const Measurements& sums) {
  for (const auto& quantizer : state.trained->quantizers()) {
    const QuantizerSpec& spec = quantizer->spec();
    const bool is_weight = spec.target == QuantizerTarget::kWeight;
    QuantizerReport report =
        DescribeQuantizer(*quantizer, is_weight ? state.trained->parameters().at(spec.id) : at::Tensor(), state.config.export_());
    for (const ActivationPlacement& placement : state.plan.activations) {
      if (placement.id == spec.id) report.node = placement.node;
    }
    for (const WeightPlacement& placement : state.plan.weights) {
      if (placement.id == spec.id) report.node = placement.node;
    }
    if (const auto trace = state.traces.find(spec.id); trace != state.traces.end()) {
      report.calibration_batches = trace->second.batches();
      report.stable_after_batches = trace->second.BatchesUntilStable();
      report.largest_sample = trace->second.largest_sample();
    }
    for (const LearnedValue& value : quantizer->learned()) {
      const bool lower = value.name == "low";
      (lower ? report.low : report.alpha) = value.Mean();
      (lower ? report.low_initial : report.alpha_initial) = value.start;
    }
    if (const auto counts = sums.quantizers.find(spec.id); counts != sums.quantizers.end() && counts->second.total > 0) {
      report.clipped_share = static_cast<double>(counts->second.clipped) / static_cast<double>(counts->second.total);
    }
    if (const auto histogram = state.histograms.find(spec.id); histogram != state.histograms.end()) {
      AddHistogram(histogram->second, report);
    }
    state.report.quantizers.push_back(std::move(report));
  }
}

const char* PrecisionName(LayerCompute compute) {
  switch (compute) {
    case LayerCompute::kInt8: return "int8";
    case LayerCompute::kWeightOnly: return "int8_weights";
    case LayerCompute::kFloat: return "float";
  }
  return "";
}

void ReportLayers(PipelineState& state, const Measurements& sums) {
  std::set<std::string> counted;
  for (const LayerPlan& layer : state.plan.layers) {
    LayerReport report;
    report.name = layer.node;
    report.op = layer.op_type;
    report.precision = PrecisionName(layer.compute);
    const auto chosen = state.precision_reasons.find(layer.node);
    report.float_reason = chosen != state.precision_reasons.end() ? chosen->second : layer.float_reason;
    for (const std::string* name : {&layer.weight, &layer.bias}) {
      if (const auto found = state.graph.initializers.find(*name); found != state.graph.initializers.end()) {
        report.params += found->second.numel();
        if (counted.insert(*name).second) report.float_bytes += static_cast<int64_t>(found->second.nbytes());
      }
    }
    if (const Quantizer* weight = state.trained->Find(layer.weight_quantizer)) {
      report.weight_bits = weight->spec().bits;
      report.weight_method = v1::QuantizerMethod_Name(weight->spec().method);
      if (weight->spec().bits == 8) report.weight_range = weight->spec().range == v1::WeightConfig::FULL ? "full" : "reduced";
    }
    if (const auto sum = state.pair_sums.find(layer.weight_quantizer);
        sum != state.pair_sums.end() && layer.compute == LayerCompute::kInt8) {
      report.pair_sum = sum->second;
    }
    if (const Quantizer* input = state.trained->Find(layer.input_quantizer)) {
      report.activation_bits = input->spec().bits;
      report.activation_method = v1::QuantizerMethod_Name(input->spec().method);
    }
    if (const auto power = sums.layers.find(layer.output); power != sums.layers.end() && power->second.noise > 0) {
      report.sqnr_db = 10 * std::log10(power->second.signal / power->second.noise);
    }
    const auto sensitivity = std::find_if(state.sensitivity.begin(), state.sensitivity.end(),
                                          [&](const LayerSensitivity& other) { return other.node == layer.node; });
    if (sensitivity != state.sensitivity.end()) {
      report.sensitivity = sensitivity->error;
      report.weight_sensitivity = sensitivity->weight_error;
    }
    state.report.layers.push_back(std::move(report));
  }
}

}  // namespace

absl::Status MeasureLayers(PipelineState& state) {
  PACTORY_RETURN_IF_ERROR(state.meter.Start("measure_layers"));
  c10::NoGradGuard no_grad;
  std::vector<std::string> outputs, activations;
  for (const LayerPlan& layer : state.plan.layers) outputs.push_back(layer.output);
  for (const ActivationPlacement& placement : state.plan.activations) activations.push_back(placement.id);
  Measurements sums;
  // Of the training data: the evaluation set is for measuring the whole.
  std::vector<int64_t> order = ShuffledOrder(state.train->size(), static_cast<uint64_t>(state.config.training().seed()), -1);
  const int64_t batch = std::min<int64_t>(kBatch, state.config.training().batch_size());
  const int64_t count = std::min<int64_t>(kSamples, static_cast<int64_t>(order.size())) / batch * batch;
  for (int64_t begin = 0; begin < count; begin += batch) {
    PACTORY_ASSIGN_OR_RETURN(Batch samples, state.train->Read(absl::MakeConstSpan(order).subspan(begin, batch)));
    PACTORY_RETURN_IF_ERROR(MeasureBatch(state, OnDevice(std::move(samples.inputs), state.device), outputs, activations, sums));
    PACTORY_RETURN_IF_ERROR(state.meter.Advance(static_cast<double>(begin + batch) / static_cast<double>(count)));
  }
  ReportQuantizers(state, sums);
  ReportLayers(state, sums);
  for (std::string& warning : WarnOfRanges(state.report.quantizers, state.config)) state.report.warnings.push_back(std::move(warning));
  return absl::OkStatus();
}

}  // namespace pactory::quant

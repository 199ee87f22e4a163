// What a runtime computes in int8, and where it wants its Q/DQ pairs: one set of rules per export profile. Used by
// insert_quantizers and the pipeline; the exporter has the forms of what stands there. Stateless.
#pragma once

#include <set>
#include <string>
#include <utility>

#include "pactory/v1/quantization.pb.h"
#include "quant/graph/graph.h"

namespace pactory::quant {

/// A node and one of its inputs.
using NodeInput = std::pair<std::string, std::string>;

/// The rules of one profile.
struct ProfileRules {
  /// Names of those layers among `candidates` (nodes with a stored weight) that are computed in int8.
  std::set<std::string> (*find_int8_layers)(const Graph& graph, const std::set<std::string>& candidates);
  /// Inputs of nodes without weights that are quantized for them alone, given the int8 layers.
  std::set<NodeInput> (*find_joined_inputs)(const Graph& graph, const std::set<std::string>& int8_layers);
  /// Whether a layer needs a Q behind it to be computed in int8, and values that only move keep their pairs on both sides.
  bool quantizes_outputs = false;
  /// Whether biases are int32 on the grid of the layer's sums; else they stay float.
  bool quantizes_biases = false;
  /// Whether a tensor that can't be negative has the grid [0, 255]; else the signed one.
  bool has_unsigned_grid = true;
  /// Whether the signed grid is [-128, 127], which Q's saturation alone keeps; else [-127, 127], kept by a Clip.
  bool has_full_signed_grid = false;
};

/// Returns the rules of a profile: ORT_CPU's also for QOPERATOR, which writes the same pairs as operators.
const ProfileRules& RulesOf(v1::ExportConfig::Profile profile);

/// Whether the signed grid of activations of `bits` bits is the full one: where the profile has it, and for 8 bits stored as int8. ONNX
/// Runtime on x86-64 makes uint8 of int8 pairs, but not where a Clip stands between Q and DQ, and computes the layers beside in float.
bool HasFullSignedGrid(const v1::ExportConfig& config, int bits);

}  // namespace pactory::quant

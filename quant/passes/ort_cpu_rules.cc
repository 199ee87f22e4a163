#include "quant/passes/ort_cpu_rules.h"

#include <set>
#include <string>

namespace pactory::quant {
namespace {

bool IsOneOf(const Node& node, const std::set<std::string>& ops) {
  return node.domain.empty() && ops.contains(node.op_type);
}

}  // namespace

bool IsAbsorbedByQuantizer(const Node& node) {
  static const std::set<std::string> kOps = {"Relu"};
  return IsOneOf(node, kOps);
}

bool MayGiveFloat(const Node& node) {
  static const std::set<std::string> kOps = {"Gemm", "MatMul"};
  return IsOneOf(node, kOps);
}

bool NeedsWeightZeroPoint(const Node& node) {
  static const std::set<std::string> kOps = {"Gemm"};
  return IsOneOf(node, kOps);
}

bool RunsOnQuantizedActivations(const Node& node) {
  static const std::set<std::string> kOps = {"Add", "GlobalAveragePool"};
  return IsOneOf(node, kOps);
}

}  // namespace pactory::quant

#include "quant/passes/replace_shape_arithmetic.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "quant/ops/arguments.h"
#include "quant/passes/pattern.h"

namespace pactory::quant {
namespace {

// One element of a shape that is being computed: a number, a dimension of some value, or something not followed.
struct Element {
  std::optional<int64_t> number = {};
  std::string value = {};
  int64_t axis = -1;
};

// What is known of an integer vector (or scalar).
struct Known {
  std::vector<Element> elements = {};
  // Set where this is the whole shape of a value, whose rank need not be known.
  std::string shape_of = {};
};

constexpr int64_t kLongestShape = 16;

class Follower {
 public:
  explicit Follower(const Graph& graph) : graph_(graph) {}

  // What is known of a value, or null.
  const Known* Find(const std::string& value) {
    const auto found = known_.find(value);
    if (found != known_.end()) return &found->second;
    const at::Tensor* constant = ConstantOf(graph_, value);
    if (constant == nullptr || !at::isIntegralType(constant->scalar_type(), /*includeBool=*/false) ||
        constant->dim() > 1 || constant->numel() > kLongestShape) {
      return nullptr;
    }
    Known known;
    for (const int64_t number : Integers(*constant)) known.elements.push_back({.number = number});
    return &(known_[value] = std::move(known));
  }

  void Follow(const Node& node) {
    if (node.inputs.empty() || node.outputs.empty()) return;
    if (std::optional<Known> result = Result(node)) known_[node.outputs[0]] = *std::move(result);
  }

 private:
  std::optional<Known> Result(const Node& node) {
    if (Is(node, "Shape")) {
      if (node.Has("start") || node.Has("end")) return std::nullopt;
      return Known{.shape_of = node.inputs[0]};
    }
    const bool renames = Is(node, "Cast") || Is(node, "Identity") || Is(node, "Unsqueeze") || Is(node, "Squeeze");
    if (renames) {
      const Known* input = Find(node.inputs[0]);
      return input != nullptr ? std::optional(*input) : std::nullopt;
    }
    if (Is(node, "Gather")) return Gather(node);
    if (Is(node, "Slice")) return Slice(node);
    if (Is(node, "Concat")) return Concat(node);
    return Arithmetic(node);
  }

  // The element at an index; axis counted from the end where the index is.
  std::optional<Element> At(const Known& known, int64_t index) const {
    if (!known.shape_of.empty()) return Element{.value = known.shape_of, .axis = index};
    if (index < 0) index += static_cast<int64_t>(known.elements.size());
    if (index < 0 || index >= static_cast<int64_t>(known.elements.size())) return std::nullopt;
    return known.elements[index];
  }

  std::optional<Known> Gather(const Node& node) {
    const Known* data = Find(node.inputs[0]);
    const Known* indices = node.inputs.size() > 1 ? Find(node.inputs[1]) : nullptr;
    if (data == nullptr || indices == nullptr || !indices->shape_of.empty()) return std::nullopt;
    const Known source = *data;
    Known result;
    for (const Element& index : Known(*indices).elements) {
      const std::optional<Element> element = index.number ? At(source, *index.number) : std::nullopt;
      if (!element) return std::nullopt;
      result.elements.push_back(*element);
    }
    return result;
  }

  // A single number given as attribute or input.
  std::optional<int64_t> Bound(const Node& node, const char* attribute, size_t input, int64_t fallback) {
    if (graph_.opset() < 10) {
      const std::vector<int64_t> values = node.IntsOr(attribute, {fallback});
      return values.size() == 1 ? std::optional(values[0]) : std::nullopt;
    }
    if (input >= node.inputs.size() || node.inputs[input].empty()) return fallback;
    const Known* known = Find(node.inputs[input]);
    if (known == nullptr || known->elements.size() != 1) return std::nullopt;
    return known->elements[0].number;
  }

  std::optional<Known> Slice(const Node& node) {
    const Known* found = Find(node.inputs[0]);
    if (found == nullptr) return std::nullopt;
    const Known data = *found;
    const std::optional<int64_t> start = Bound(node, "starts", 1, 0);
    const std::optional<int64_t> end = Bound(node, "ends", 2, 0);
    const std::optional<int64_t> axis = Bound(node, "axes", 3, 0);
    const std::optional<int64_t> step = graph_.opset() < 10 ? 1 : Bound(node, "steps", 4, 1);
    if (!start || !end || axis != 0 || step != 1) return std::nullopt;
    // Of a shape with unknown rank only a stretch that does not reach the end is known; one element from the end is
    // too.
    const int64_t size = data.shape_of.empty() ? static_cast<int64_t>(data.elements.size()) : kLongestShape;
    int64_t from = *start;
    int64_t to = *end;
    if (data.shape_of.empty()) {
      from = std::clamp<int64_t>(from < 0 ? from + size : from, 0, size);
      to = std::clamp<int64_t>(to < 0 ? to + size : to, from, size);
    } else if (from < 0 && to > kLongestShape) {
      to = 0;
    } else if ((from < 0) != (to < 0) || to > kLongestShape || from < -kLongestShape || to <= from) {
      return std::nullopt;
    }
    Known result;
    for (int64_t index = from; index < to; ++index) {
      const std::optional<Element> element = At(data, index);
      if (!element) return std::nullopt;
      result.elements.push_back(*element);
    }
    return result;
  }

  std::optional<Known> Concat(const Node& node) {
    Known result;
    for (const std::string& input : node.inputs) {
      const Known* part = Find(input);
      if (part == nullptr || !part->shape_of.empty()) return std::nullopt;
      result.elements.insert(result.elements.end(), part->elements.begin(), part->elements.end());
    }
    return result;
  }

  // Sums and products of single elements: their length is known even where their value is not.
  std::optional<Known> Arithmetic(const Node& node) {
    if (!Is(node, "Add") && !Is(node, "Sub") && !Is(node, "Mul") && !Is(node, "Div")) return std::nullopt;
    for (const std::string& input : node.inputs) {
      const Known* operand = Find(input);
      if (operand == nullptr || operand->elements.size() != 1) return std::nullopt;
    }
    return Known{.elements = {Element{}}};
  }

  const Graph& graph_;
  std::map<std::string, Known> known_;
};

// The shape as a constant for Reshape of `data`; empty where 0 and -1 can't say it.
std::vector<int64_t> AsConstant(const Known& shape, const std::string& data) {
  std::vector<int64_t> constant;
  int64_t unknown = 0;
  for (size_t axis = 0; axis < shape.elements.size(); ++axis) {
    const Element& element = shape.elements[axis];
    if (element.number) {
      constant.push_back(*element.number);
      unknown += *element.number == -1 ? 1 : 0;
    } else if (element.value == data && element.axis == static_cast<int64_t>(axis)) {
      constant.push_back(0);
    } else {
      constant.push_back(-1);
      ++unknown;
    }
  }
  return unknown <= 1 ? constant : std::vector<int64_t>();
}

}  // namespace

absl::Status ReplaceShapeArithmetic(Graph& graph) {
  Follower follower(graph);
  for (Node& node : graph.nodes) {
    follower.Follow(node);
    if (!Is(node, "Reshape") || node.inputs.size() != 2 || node.IntOr("allowzero", 0) != 0) continue;
    if (ConstantOf(graph, node.inputs[1]) != nullptr) continue;
    const Known* shape = follower.Find(node.inputs[1]);
    if (shape == nullptr || !shape->shape_of.empty() || shape->elements.empty()) continue;
    const std::vector<int64_t> constant = AsConstant(*shape, node.inputs[0]);
    if (!constant.empty()) node.inputs[1] = AddConstant(graph, node.name + "_shape", at::tensor(constant, at::kLong));
  }
  return absl::OkStatus();
}

}  // namespace pactory::quant

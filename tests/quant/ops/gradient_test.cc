// Gradients of the differentiable ops against central finite differences in double. Inputs lie off the kinks.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <memory>
#include <set>

#include "quant/ops/registry.h"
#include "tests/quant/make_graph.h"

namespace pactory::quant {
namespace {

struct GradientCase {
  std::string label;
  Node node;
  std::vector<at::Tensor> inputs;
  int64_t opset = 18;
  // Inputs that say where or how and take no gradient: regions, statistics.
  std::set<size_t> fixed = {};
};

void PrintTo(const GradientCase& one, std::ostream* stream) { *stream << one.label; }

class GradientTest : public testing::TestWithParam<GradientCase> {};

// A weighted sum of the output: the weights differ, so that no error cancels out.
at::Tensor Objective(const Kernel& kernel, const std::vector<at::Tensor>& inputs) {
  const at::Tensor output = kernel(inputs).at(0);
  return (output * at::cos(at::arange(output.numel(), at::kDouble).reshape(output.sizes()))).sum();
}

TEST_P(GradientTest, AgreesWithFiniteDifferences) {
  const GradientCase& one = GetParam();
  const OpDefinition* op = FindOp(one.node.domain, one.node.op_type, one.opset);
  ASSERT_NE(op, nullptr) << one.node.op_type;
  const absl::StatusOr<Kernel> kernel = op->bind(one.node, one.opset);
  ASSERT_TRUE(kernel.ok()) << kernel.status();

  std::vector<at::Tensor> inputs;
  for (const at::Tensor& input : one.inputs) {
    inputs.push_back(input.defined() ? input.clone() : input);
    const bool learns = input.defined() && input.is_floating_point() && one.fixed.count(inputs.size() - 1) == 0;
    if (learns) inputs.back().requires_grad_(true);
  }
  Objective(*kernel, inputs).backward();
  constexpr double kStep = 1e-6;
  for (size_t which = 0; which < inputs.size(); ++which) {
    if (!inputs[which].defined() || !inputs[which].requires_grad()) continue;
    ASSERT_TRUE(inputs[which].grad().defined()) << "input " << which << " has no gradient";
    std::vector<at::Tensor> moved;
    for (const at::Tensor& input : inputs) moved.push_back(input.defined() ? input.detach().clone() : input);
    double* element = moved[which].data_ptr<double>();
    const at::Tensor gradient = inputs[which].grad().contiguous().flatten();
    for (int64_t index = 0; index < moved[which].numel(); ++index) {
      const double value = element[index];
      element[index] = value + kStep;
      const double above = Objective(*kernel, moved).item<double>();
      element[index] = value - kStep;
      const double below = Objective(*kernel, moved).item<double>();
      element[index] = value;
      EXPECT_NEAR(gradient[index].item<double>(), (above - below) / (2 * kStep), 1e-6)
          << "input " << which << " element " << index;
    }
  }
}

// Distinct values from -range to range, none of them near 0 or another's.
at::Tensor Values(std::vector<int64_t> shape, double range = 2, uint64_t seed = 1) {
  at::manual_seed(seed);
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  const at::Tensor steps = at::linspace(-range, range, 2 * count, at::kDouble).reshape({-1, 2}).select(1, 1);
  return steps.index_select(0, at::randperm(count)).reshape(shape).contiguous() + 0.0137;
}

at::Tensor Positive(std::vector<int64_t> shape) { return Values(std::move(shape)).abs() + 0.3; }
at::Tensor Ints(std::vector<int64_t> values) { return at::tensor(values, at::kLong); }

std::vector<GradientCase> Cases() {
  using Ints64 = std::vector<int64_t>;
  std::vector<GradientCase> cases;
  for (const char* op : {"Relu",
                         "LeakyRelu",
                         "Sigmoid",
                         "HardSigmoid",
                         "HardSwish",
                         "Tanh",
                         "Elu",
                         "Selu",
                         "Celu",
                         "Gelu",
                         "Mish",
                         "Softplus",
                         "Softsign",
                         "ThresholdedRelu",
                         "Softmax",
                         "LogSoftmax",
                         "Abs",
                         "Neg",
                         "Exp",
                         "Erf",
                         "Sin",
                         "Cos",
                         "GlobalAveragePool",
                         "GlobalMaxPool",
                         "ReduceMean",
                         "ReduceSum",
                         "ReduceMax",
                         "ReduceL2",
                         "ReduceLogSumExp",
                         "Flatten",
                         "Transpose",
                         "Identity",
                         "Swish",
                         "Sign",
                         "Floor",
                         "Ceil",
                         "Round",
                         "Shrink",
                         "Atan",
                         "Sinh",
                         "Cosh",
                         "Asinh",
                         "ReduceProd",
                         "ReduceMin",
                         "ReduceL1",
                         "ReduceSumSquare",
                         "GlobalLpPool",
                         "LpNormalization",
                         "MeanVarianceNormalization",
                         "LRN",
                         "Trilu",
                         "Dropout"}) {
    cases.push_back({op, NodeOf(op, {"x"}, "y"), {Values({2, 3, 2, 2})}});
  }
  for (const char* op : {"Log", "Sqrt", "Reciprocal", "ReduceLogSum"})
    cases.push_back({op, NodeOf(op, {"x"}, "y"), {Positive({2, 3})}});
  for (const char* op : {"Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean"}) {
    cases.push_back({op, NodeOf(op, {"a", "b"}, "y"), {Values({2, 3, 2}), Values({3, 1}, 1.7, 2)}});
  }
  cases.push_back({"Det", NodeOf("Det", {"x"}, "y"), {Values({2, 3, 3})}});
  cases.push_back({"PRelu", NodeOf("PRelu", {"a", "b"}, "y"), {Values({2, 3, 2}), Values({3, 1})}});
  cases.push_back({"Pow", NodeOf("Pow", {"a", "b"}, "y"), {Positive({2, 3}), Values({3})}});
  cases.push_back({"Where", NodeOf("Where", {"c", "a", "b"}, "y"),
                   {at::tensor({1, 0, 1}, at::kLong).to(at::kBool), Values({2, 3}), Values({2, 3}, 1.7, 2)}});
  cases.push_back({"Conv",
                   NodeOf("Conv", {"x", "w", "b"}, "y",
                          {{"pads", Ints64{1, 0, 0, 2}}, {"strides", Ints64{2, 1}}, {"group", int64_t{2}}}),
                   {Values({2, 4, 4, 3}), Values({4, 2, 2, 2}), Values({4})}});
  cases.push_back(
      {"ConvTranspose",
       NodeOf("ConvTranspose", {"x", "w", "b"}, "y", {{"pads", Ints64{1, 0, 0, 1}}, {"strides", Ints64{2, 2}}}),
       {Values({1, 2, 3, 3}), Values({2, 3, 2, 2}), Values({3})}});
  cases.push_back({"MatMul", NodeOf("MatMul", {"a", "b"}, "y"), {Values({2, 3, 4}), Values({4, 2})}});
  cases.push_back({"Gemm",
                   NodeOf("Gemm", {"a", "b", "c"}, "y", {{"transB", int64_t{1}}, {"alpha", 0.5f}, {"beta", 2.0f}}),
                   {Values({3, 4}), Values({2, 4}), Values({2})}});
  cases.push_back({"MaxPool",
                   NodeOf("MaxPool", {"x"}, "y",
                          {{"kernel_shape", Ints64{2, 2}}, {"strides", Ints64{2, 2}}, {"ceil_mode", int64_t{1}}}),
                   {Values({1, 2, 5, 3})}});
  cases.push_back({"AveragePool",
                   NodeOf("AveragePool", {"x"}, "y", {{"kernel_shape", Ints64{3, 2}}, {"pads", Ints64{1, 0, 0, 1}}}),
                   {Values({1, 2, 4, 4})}});
  cases.push_back({"LayerNormalization",
                   NodeOf("LayerNormalization", {"x", "s", "b"}, "y"),
                   {Values({2, 3, 4}), Values({4}), Values({4})}});
  cases.push_back({"InstanceNormalization", NodeOf("InstanceNormalization", {"x", "s", "b"}, "y"),
                   {Values({2, 3, 2, 2}), Values({3}), Values({3})}});
  cases.push_back({"Clip", NodeOf("Clip", {"x", "low", "high"}, "y"),
                   {Values({3, 4}), at::scalar_tensor(-1, at::kFloat).to(at::kLong), at::scalar_tensor(1, at::kLong)}});
  cases.push_back({"Resize_linear", NodeOf("Resize", {"x", "", "scales"}, "y", {{"mode", std::string("linear")}}),
                   {Values({1, 2, 3, 4}), at::Tensor(), Ints({1, 1, 2, 3})}});
  cases.push_back({"Resize_cubic", NodeOf("Resize", {"x", "", "scales"}, "y", {{"mode", std::string("cubic")}}),
                   {Values({1, 1, 3, 4}), at::Tensor(), Ints({1, 1, 2, 2})}});
  cases.push_back({"Reshape", NodeOf("Reshape", {"x", "s"}, "y"), {Values({2, 3, 2}), Ints({0, -1})}});
  cases.push_back({"Slice",
                   NodeOf("Slice", {"x", "f", "t", "a", "s"}, "y"),
                   {Values({4, 5}), Ints({3, 1}), Ints({-9, 5}), Ints({0, 1}), Ints({-2, 2})}});
  cases.push_back(
      {"Gather", NodeOf("Gather", {"x", "i"}, "y", {{"axis", int64_t{1}}}), {Values({2, 4}), Ints({3, 0, -1, 3})}});
  cases.push_back({"Pad",
                   NodeOf("Pad", {"x", "p"}, "y", {{"mode", std::string("reflect")}}),
                   {Values({3, 4}), Ints({1, 0, 2, 3})}});
  cases.push_back({"Expand", NodeOf("Expand", {"x", "s"}, "y"), {Values({3, 1}), Ints({2, 1, 4})}});
  cases.push_back(
      {"Concat", NodeOf("Concat", {"a", "b"}, "y", {{"axis", int64_t{1}}}), {Values({2, 3}), Values({2, 1})}});
  cases.push_back(
      {"DepthToSpace", NodeOf("DepthToSpace", {"x"}, "y", {{"blocksize", int64_t{2}}}), {Values({1, 4, 2, 2})}});
  return cases;
}

// Within the domain of the inverse functions.
at::Tensor Small(std::vector<int64_t> shape) { return Values(std::move(shape), 0.8); }

Node WithDomain(Node node) {
  node.domain = "com.microsoft";
  return node;
}

// A graph of these nodes as a branch or a body; the last inputs stand for what its node captured.
std::shared_ptr<const Graph> Body(std::vector<std::string> inputs, std::vector<std::string> outputs,
                                  std::vector<Node> nodes, std::vector<int64_t> captured) {
  Graph graph;
  graph.opsets[""] = 18;
  for (std::string& input : inputs) graph.inputs.push_back({.name = std::move(input)});
  for (std::string& output : outputs) graph.outputs.push_back({.name = std::move(output)});
  graph.nodes = std::move(nodes);
  graph.captured = std::move(captured);
  return std::make_shared<const Graph>(std::move(graph));
}

std::vector<GradientCase> ControlFlowCases() {
  const at::Tensor yes = at::scalar_tensor(true, at::kBool);
  const auto product = Body({"x", "w"}, {"p"}, {NodeOf("Mul", {"x", "w"}, "p")}, {1, 2});
  const auto sum = Body({"x", "w"}, {"s"}, {NodeOf("Add", {"x", "w"}, "s")}, {1, 2});
  const auto step = Body({"i", "c", "state", "w"}, {"c", "next"},
                         {NodeOf("Mul", {"state", "w"}, "p"), NodeOf("Tanh", {"p"}, "next")}, {3});
  const auto part = Body({"state", "item", "w"}, {"next", "next"},
                         {NodeOf("Mul", {"item", "w"}, "p"), NodeOf("Add", {"state", "p"}, "next")}, {2});
  return {
      {"If", NodeOf("If", {"c", "x", "w"}, "y", {{"then_branch", product}, {"else_branch", sum}}),
       {yes, Values({2, 3}), Values({3})}},
      {"Loop", NodeOf("Loop", {"n", "c", "x", "w"}, "y", {{"body", step}}), {Ints({3}), yes, Values({2, 3}), Values({3})}},
      {"Scan", NodeOf("Scan", {"s", "x", "w"}, "y", {{"body", part}, {"num_scan_inputs", int64_t{1}}}),
       {Values({3}), Values({4, 3}), Values({3})}},
  };
}

std::vector<GradientCase> FusedCases() {
  const std::string relu = "Relu";
  return {
      {"FusedConv", WithDomain(NodeOf("FusedConv", {"x", "w", "b", "z"}, "y", {{"activation", relu}})),
       {Values({1, 2, 3, 3}), Values({2, 2, 2, 2}), Values({2}), Values({1, 2, 2, 2})}},
      {"FusedGemm", WithDomain(NodeOf("FusedGemm", {"a", "b", "c"}, "y", {{"activation", relu}})),
       {Values({2, 3}), Values({3, 2}), Values({2})}},
      {"FusedMatMul", WithDomain(NodeOf("FusedMatMul", {"a", "b"}, "y", {{"alpha", 0.5f}, {"transA", int64_t{1}}})),
       {Values({2, 3, 4}), Values({2, 3, 2})}},
      {"GeluOfMicrosoft", WithDomain(NodeOf("Gelu", {"x"}, "y")), {Values({2, 3})}},
      {"BiasGelu", WithDomain(NodeOf("BiasGelu", {"x", "b"}, "y")), {Values({2, 3}), Values({3})}},
      {"FastGelu", WithDomain(NodeOf("FastGelu", {"x", "b"}, "y")), {Values({2, 3}), Values({3})}},
      {"QuickGelu", WithDomain(NodeOf("QuickGelu", {"x"}, "y")), {Values({2, 3})}},
      {"AttentionOfMicrosoft", WithDomain(NodeOf("Attention", {"x", "w", "b"}, "y", {{"num_heads", int64_t{2}}})),
       {Values({1, 3, 4}), Values({4, 12}), Values({12})}},
      {"MultiHeadAttention",
       WithDomain(NodeOf("MultiHeadAttention", {"q", "k", "v", "b"}, "y",
                         {{"num_heads", int64_t{2}}, {"unidirectional", int64_t{1}}})),
       {Values({1, 3, 4}), Values({1, 3, 4}, 1.3, 2), Values({1, 3, 4}, 1.7, 3), Values({12})}},
      {"SkipLayerNormalization", WithDomain(NodeOf("SkipLayerNormalization", {"x", "s", "g", "b", "c"}, "y")),
       {Values({2, 4}), Values({2, 4}, 1.3, 2), Values({4}), Values({4}), Values({4})}},
      {"SkipSimplifiedLayerNormalization", WithDomain(NodeOf("SkipSimplifiedLayerNormalization", {"x", "s", "g"}, "y")),
       {Values({2, 4}), Values({2, 4}, 1.3, 2), Values({4})}},
      {"SimplifiedLayerNormalization", NodeOf("SimplifiedLayerNormalization", {"x", "g"}, "y"),
       {Values({2, 4}), Values({4})}},
  };
}

Node ScalerNode() {
  Node node = NodeOf("Scaler", {"x"}, "y",
                     {{"offset", std::vector<float>{0.5f, -1}}, {"scale", std::vector<float>{2, 0.25f}}});
  node.domain = "ai.onnx.ml";
  return node;
}

std::vector<GradientCase> RecurrentCases() {
  std::vector<GradientCase> cases;
  for (const auto& [op, gates] : std::vector<std::pair<std::string, int64_t>>{{"LSTM", 4}, {"GRU", 3}, {"RNN", 1}}) {
    cases.push_back({op,
                     NodeOf(op, {"x", "w", "r", "b", "l", "h"}, "y",
                            {{"direction", std::string("bidirectional")}, {"hidden_size", int64_t{2}}}),
                     {Values({3, 2, 2}), Values({2, 2 * gates, 2}), Values({2, 2 * gates, 2}, 1.1, 2),
                      Values({2, 4 * gates}, 0.7), Ints({3, 2}), Values({2, 2, 2})}});
  }
  return cases;
}

std::vector<GradientCase> MoreCases() {
  using Ints64 = std::vector<int64_t>;
  const at::Tensor chosen = at::tensor({1, 0, 1}, at::kLong).to(at::kBool);
  const auto axis1 = std::map<std::string, Attribute>{{"axis", int64_t{1}}};
  std::vector<GradientCase> cases = {
      {"BatchNormalization", NodeOf("BatchNormalization", {"x", "s", "b", "m", "v"}, "y"),
       {Values({2, 3, 2}), Values({3}), Values({3}), Values({3}), Positive({3})}, 18, {3, 4}},
      {"GroupNormalization", NodeOf("GroupNormalization", {"x", "s", "b"}, "y", {{"num_groups", int64_t{2}}}),
       {Values({2, 4, 3}), Values({4}), Values({4})}, 21},
      {"RMSNormalization", NodeOf("RMSNormalization", {"x", "s"}, "y"), {Values({2, 3, 4}), Values({4})}, 23},
      {"Attention", NodeOf("Attention", {"q", "k", "v"}, "y", {{"is_causal", int64_t{1}}}),
       {Values({1, 2, 3, 2}), Values({1, 2, 3, 2}, 1.3, 2), Values({1, 2, 3, 2}, 1.7, 3)}, 23},
      {"RotaryEmbedding", NodeOf("RotaryEmbedding", {"x", "c", "s"}, "y"),
       {Values({1, 2, 3, 4}), Values({1, 3, 2}), Values({1, 3, 2}, 1.3, 2)}, 23},
      {"Einsum", NodeOf("Einsum", {"a", "b"}, "y", {{"equation", std::string("bij,bjk->bik")}}),
       {Values({2, 3, 2}), Values({2, 2, 3})}},
      {"LpPool", NodeOf("LpPool", {"x"}, "y", {{"kernel_shape", Ints64{2, 2}}}), {Values({1, 2, 3, 3})}},
      {"MaxUnpool", NodeOf("MaxUnpool", {"x", "i"}, "y", {{"kernel_shape", Ints64{2}}, {"strides", Ints64{2}}}),
       {Values({1, 1, 2}), Ints({1, 2}).reshape({1, 1, 2})}},
      {"GridSample", NodeOf("GridSample", {"x", "g"}, "y"), {Values({1, 2, 4, 4}), Small({1, 3, 2, 2})}},
      {"RoiAlign", NodeOf("RoiAlign", {"x", "r", "i"}, "y", {{"output_height", int64_t{2}}, {"output_width", int64_t{2}}}),
       {Values({1, 2, 6, 6}), at::tensor({0.5, 1.0, 4.5, 5.0}, at::kDouble).reshape({1, 4}), Ints({0})}, 18, {1}},
      {"RoiAlignMax", NodeOf("RoiAlign", {"x", "r", "i"}, "y", {{"mode", std::string("max")}, {"output_height", int64_t{2}}}),
       {Values({1, 2, 6, 6}), at::tensor({0.5, 1.0, 4.5, 5.0}, at::kDouble).reshape({1, 4}), Ints({0})}, 18, {1}},
      {"Mod", NodeOf("Mod", {"a", "b"}, "y", {{"fmod", int64_t{1}}}), {Values({2, 3}), Positive({3})}},
      {"Tan", NodeOf("Tan", {"x"}, "y"), {Small({2, 3})}},
      {"Asin", NodeOf("Asin", {"x"}, "y"), {Small({2, 3})}},
      {"Acos", NodeOf("Acos", {"x"}, "y"), {Small({2, 3})}},
      {"Atanh", NodeOf("Atanh", {"x"}, "y"), {Small({2, 3})}},
      {"Acosh", NodeOf("Acosh", {"x"}, "y"), {Positive({2, 3}) + 1}},
      {"CumSum", NodeOf("CumSum", {"x", "a"}, "y", {{"reverse", int64_t{1}}}), {Values({2, 3}), Ints({1})}},
      {"TopK", NodeOf("TopK", {"x", "k"}, "y"), {Values({2, 4}), Ints({2})}},
      {"Squeeze", NodeOf("Squeeze", {"x", "a"}, "y"), {Values({2, 1, 3}), Ints({1})}},
      {"Unsqueeze", NodeOf("Unsqueeze", {"x", "a"}, "y"), {Values({2, 3}), Ints({1})}},
      {"Split", NodeOf("Split", {"x", "s"}, "y", axis1), {Values({2, 3}), Ints({2, 1})}},
      {"Tile", NodeOf("Tile", {"x", "r"}, "y"), {Values({2, 3}), Ints({2, 1})}},
      {"Cast", NodeOf("Cast", {"x"}, "y", {{"to", int64_t{11}}}), {Values({2, 3})}},
      {"CastLike", NodeOf("CastLike", {"x", "l"}, "y"), {Values({2, 3}), Values({1})}, 18, {1}},
      {"GatherElements", NodeOf("GatherElements", {"x", "i"}, "y", axis1),
       {Values({2, 3}), Ints({0, 2, 2, -1}).reshape({2, 2})}},
      {"GatherND", NodeOf("GatherND", {"x", "i"}, "y"), {Values({2, 3}), Ints({0, 2, 1, 1}).reshape({2, 2})}},
      {"Scatter", NodeOf("Scatter", {"x", "i", "u"}, "y"), {Values({3, 2}), Ints({0, 2}).reshape({1, 2}), Values({1, 2})}, 10},
      {"ScatterElements", NodeOf("ScatterElements", {"x", "i", "u"}, "y", {{"reduction", std::string("add")}}),
       {Values({3, 2}), Ints({0, 2}).reshape({1, 2}), Values({1, 2})}},
      {"ScatterND", NodeOf("ScatterND", {"x", "i", "u"}, "y"), {Values({3, 2}), Ints({2, 0}).reshape({2, 1}), Values({2, 2})}},
      {"Compress", NodeOf("Compress", {"x", "c"}, "y", axis1), {Values({2, 3}), chosen}},
      {"OneHot", NodeOf("OneHot", {"i", "d", "v"}, "y"), {Ints({0, 2}), Ints({3}), Values({2})}},
      {"SpaceToDepth", NodeOf("SpaceToDepth", {"x"}, "y", {{"blocksize", int64_t{2}}}), {Values({1, 1, 4, 2})}},
      {"Scaler", ScalerNode(), {Values({3, 2})}},
      {"Upsample", NodeOf("Upsample", {"x", "s"}, "y", {{"mode", std::string("linear")}}), {Values({1, 1, 2, 3}), Ints({1, 1, 2, 2})}, 9},
  };
  for (auto more : {ControlFlowCases(), FusedCases(), RecurrentCases()}) {
    cases.insert(cases.end(), more.begin(), more.end());
  }
  return cases;
}

// Ops whose outputs are indices, shapes, truth values, whole numbers or constants, or whose inputs are.
const std::set<std::string>& WithoutGradient() {
  static const auto* ops = new std::set<std::string>{
      "And", "ArgMax", "ArgMin", "ArrayFeatureExtractor", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "ConstantOfShape",
      "DequantizeLinear", "Equal", "EyeLike", "Greater", "GreaterOrEqual", "Hardmax", "IsInf", "IsNaN", "Less",
      "LessOrEqual", "NonMaxSuppression", "NonZero", "Not", "Or", "QuantizeLinear", "Range", "Shape", "Size", "Xor"};
  return *ops;
}

TEST(GradientCoverageTest, EveryOpHasACaseOrNoGradient) {
  std::set<std::string> covered;
  for (const auto& cases : {Cases(), MoreCases()}) {
    for (const GradientCase& one : cases) covered.insert(one.node.domain + ":" + one.node.op_type);
  }
  for (const OpDefinition* op : AllOps()) {
    const bool has_case = covered.count(op->domain + ":" + op->name) > 0;
    EXPECT_NE(has_case, WithoutGradient().count(op->name) > 0) << op->domain << ":" << op->name;
  }
}

INSTANTIATE_TEST_SUITE_P(MoreOps, GradientTest, testing::ValuesIn(MoreCases()),
                         [](const testing::TestParamInfo<GradientCase>& info) { return info.param.label; });

INSTANTIATE_TEST_SUITE_P(Ops, GradientTest, testing::ValuesIn(Cases()),
                         [](const testing::TestParamInfo<GradientCase>& info) { return info.param.label; });

}  // namespace
}  // namespace pactory::quant

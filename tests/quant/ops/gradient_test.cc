// Gradients of the differentiable ops against central finite differences in double. Inputs lie off the kinks.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "quant/ops/registry.h"
#include "tests/quant/make_graph.h"

namespace pactory::quant {
namespace {

struct GradientCase {
  std::string label;
  Node node;
  std::vector<at::Tensor> inputs;
  int64_t opset = 18;
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
  const OpDefinition* op = FindOp("", one.node.op_type, one.opset);
  ASSERT_NE(op, nullptr) << one.node.op_type;
  const absl::StatusOr<Kernel> kernel = op->bind(one.node, one.opset);
  ASSERT_TRUE(kernel.ok()) << kernel.status();

  std::vector<at::Tensor> inputs;
  for (const at::Tensor& input : one.inputs) {
    inputs.push_back(input.defined() ? input.clone() : input);
    if (input.defined() && input.is_floating_point()) inputs.back().requires_grad_(true);
  }
  Objective(*kernel, inputs).backward();
  constexpr double kStep = 1e-6;
  for (size_t which = 0; which < inputs.size(); ++which) {
    if (!inputs[which].defined() || !inputs[which].is_floating_point()) continue;
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
                         "Swish"}) {
    cases.push_back({op, NodeOf(op, {"x"}, "y"), {Values({2, 3, 2, 2})}});
  }
  for (const char* op : {"Log", "Sqrt", "Reciprocal"})
    cases.push_back({op, NodeOf(op, {"x"}, "y"), {Positive({2, 3})}});
  for (const char* op : {"Add", "Sub", "Mul", "Div", "Max", "Min"}) {
    cases.push_back({op, NodeOf(op, {"a", "b"}, "y"), {Values({2, 3, 2}), Values({3, 1}, 1.7, 2)}});
  }
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

INSTANTIATE_TEST_SUITE_P(Ops, GradientTest, testing::ValuesIn(Cases()),
                         [](const testing::TestParamInfo<GradientCase>& info) { return info.param.label; });

}  // namespace
}  // namespace pactory::quant

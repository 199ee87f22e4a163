// MatMul, Gemm and Einsum.
#include <ATen/ATen.h>

#include "quant/ops/arguments.h"
#include "quant/ops/registry.h"

namespace pactory::quant {
namespace {

// y = alpha * A' * B' + beta * C   (ONNX Gemm; ' is the transposition that transA and transB ask for)
absl::StatusOr<Kernel> BindGemm(const Node& node, int64_t) {
  const double alpha = node.FloatOr("alpha", 1);
  const double beta = node.FloatOr("beta", 1);
  const int64_t transpose_a = node.IntOr("transA", 0);
  const int64_t transpose_b = node.IntOr("transB", 0);
  return Kernel([=](Arguments arguments) -> std::vector<at::Tensor> {
    at::Tensor a = RequiredInput(arguments, 0);
    at::Tensor b = RequiredInput(arguments, 1);
    const at::Tensor c = OptionalInput(arguments, 2);
    TORCH_CHECK(a.dim() == 2 && b.dim() == 2, "Gemm's inputs must be matrices: ranks=", a.dim(), ",", b.dim());
    if (transpose_a != 0) a = a.t();
    if (transpose_b != 0) b = b.t();
    if (!c.defined()) {
      const at::Tensor product = at::mm(a, b);
      return {alpha == 1 ? product : product * alpha};
    }
    if (at::isFloatingType(a.scalar_type())) return {at::addmm(c, a, b, beta, alpha)};
    return {(at::mm(a, b) * alpha + c * beta).to(a.scalar_type())};
  });
}

absl::StatusOr<Kernel> BindEinsum(const Node& node, int64_t) {
  const std::string equation = node.StringOr("equation", "");
  return Kernel([equation](Arguments arguments) -> std::vector<at::Tensor> {
    return {at::einsum(equation, arguments.vec())};
  });
}

const OpRegistration kMatMul(
    {.name = "MatMul",
     .role = QuantizationRole::kWeighted,
     .weight_input = 1,
     .channel_axis = [](const Node&, const at::Tensor& weight) -> int64_t { return weight.dim() - 1; },
     .bind = Binary([](const at::Tensor& a, const at::Tensor& b) { return at::matmul(a, b); })});
const OpRegistration kGemm({.name = "Gemm",
                            .role = QuantizationRole::kWeighted,
                            .weight_input = 1,
                            .channel_axis = [](const Node& node, const at::Tensor&) -> int64_t {
                              return node.IntOr("transB", 0) != 0 ? 0 : 1;
                            },
                            .bind = BindGemm});
const OpRegistration kDet({.name = "Det", .first_opset = 11, .bind = Unary([](const at::Tensor& x) { return at::linalg_det(x); })});
const OpRegistration kEinsum({.name = "Einsum", .first_opset = 12, .bind = BindEinsum});

}  // namespace
}  // namespace pactory::quant

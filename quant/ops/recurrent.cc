// LSTM, GRU and RNN. One loop runs them all; each gives the step from one state to the next.
#include <ATen/ATen.h>

#include <algorithm>
#include <cctype>

#include "base/status_macros.h"
#include "quant/ops/arguments.h"
#include "quant/ops/registry.h"

namespace pactory::quant {
namespace {

// The parameters of one direction, and what the step needs to know of the node.
struct CellWeights {
  // (gates * hidden) x hidden.
  at::Tensor recurrent;
  // gates * hidden each; zeros where the node has no bias.
  at::Tensor input_bias;
  at::Tensor recurrent_bias;
  // LSTM's peepholes, 3 * hidden; undefined where there are none.
  at::Tensor peepholes;
};

// The hidden state, and LSTM's cell state.
struct CellState {
  at::Tensor hidden;
  at::Tensor cell;
};

// One step: `projected` is the input times its weights, batch x (gates * hidden), without bias.
using CellStep =
    std::function<CellState(const at::Tensor& projected, const CellWeights& weights, const CellState& before)>;

struct RecurrentOp {
  int64_t gates = 1;
  bool has_cell_state = false;
  CellStep step;
};

// Gates in the order i, o, f, c:
//   i = sigmoid(x Wi + h Ri + Pi c + bi)    f = sigmoid(x Wf + h Rf + Pf c + bf)
//   c' = f c + i tanh(x Wc + h Rc + bc)     o = sigmoid(x Wo + h Ro + Po c' + bo)    h' = o tanh(c')
CellState LstmStep(const at::Tensor& projected, const CellWeights& weights, const CellState& before) {
  const at::Tensor sums =
      projected + at::matmul(before.hidden, weights.recurrent.t()) + weights.input_bias + weights.recurrent_bias;
  const std::vector<at::Tensor> gates = sums.chunk(4, -1);
  at::Tensor input = gates[0];
  at::Tensor forget = gates[2];
  at::Tensor output = gates[1];
  // Peepholes in the order i, o, f.
  const std::vector<at::Tensor> peepholes =
      weights.peepholes.defined() ? weights.peepholes.chunk(3, -1) : std::vector<at::Tensor>();
  if (!peepholes.empty()) {
    input = input + peepholes[0] * before.cell;
    forget = forget + peepholes[2] * before.cell;
  }
  CellState after;
  after.cell = at::sigmoid(forget) * before.cell + at::sigmoid(input) * at::tanh(gates[3]);
  if (!peepholes.empty()) output = output + peepholes[1] * after.cell;
  after.hidden = at::sigmoid(output) * at::tanh(after.cell);
  return after;
}

// Gates in the order z, r, h:
//   z = sigmoid(x Wz + h Rz + bz)    r = sigmoid(x Wr + h Rr + br)    h' = (1 - z) n + z h
//   n = tanh(x Wh + (r h) Rh + bh), or with linear_before_reset n = tanh(x Wh + wbh + r (h Rh + rbh))
CellStep GruStep(bool linear_before_reset) {
  return [linear_before_reset](const at::Tensor& projected, const CellWeights& weights, const CellState& before) {
    const std::vector<at::Tensor> inputs = (projected + weights.input_bias).chunk(3, -1);
    const std::vector<at::Tensor> recurrent = weights.recurrent.chunk(3, 0);
    const std::vector<at::Tensor> biases = weights.recurrent_bias.chunk(3, -1);
    const auto linear = [&](const at::Tensor& hidden, int gate) {
      return at::matmul(hidden, recurrent[gate].t()) + biases[gate];
    };
    const at::Tensor update = at::sigmoid(inputs[0] + linear(before.hidden, 0));
    const at::Tensor reset = at::sigmoid(inputs[1] + linear(before.hidden, 1));
    const at::Tensor candidate = at::tanh(
        inputs[2] + (linear_before_reset ? reset * linear(before.hidden, 2) : linear(reset * before.hidden, 2)));
    return CellState{.hidden = (1 - update) * candidate + update * before.hidden, .cell = {}};
  };
}

// h' = tanh(x W + h R + b)
CellState RnnStep(const at::Tensor& projected, const CellWeights& weights, const CellState& before) {
  const at::Tensor sums =
      projected + at::matmul(before.hidden, weights.recurrent.t()) + weights.input_bias + weights.recurrent_bias;
  return {.hidden = at::tanh(sums), .cell = {}};
}

// Runs one direction over x (time x batch x input); returns all hidden states in time order and the last state.
std::pair<at::Tensor, CellState> RunDirection(const RecurrentOp& op, const at::Tensor& x, const at::Tensor& weight,
                                              const CellWeights& weights, CellState state, bool reverse) {
  // All steps' inputs at once: one large product instead of many small ones.
  const at::Tensor projected = at::matmul(x, weight.t());
  std::vector<at::Tensor> hidden(x.size(0));
  for (int64_t step = 0; step < x.size(0); ++step) {
    const int64_t time = reverse ? x.size(0) - 1 - step : step;
    state = op.step(projected[time], weights, state);
    hidden[time] = state.hidden;
  }
  TORCH_CHECK(!hidden.empty(), "sequence must have at least one step");
  return {at::stack(hidden), state};
}

// Inputs X, W, R, B, sequence_lens, initial_h, initial_c, P; outputs Y, Y_h, Y_c.
std::vector<at::Tensor> RunRecurrent(const RecurrentOp& op, Arguments arguments, const std::string& direction,
                                     bool batch_first) {
  const at::Tensor& given = RequiredInput(arguments, 0);
  const at::Tensor& weight = RequiredInput(arguments, 1);
  const at::Tensor& recurrent = RequiredInput(arguments, 2);
  const at::Tensor bias = OptionalInput(arguments, 3);
  const at::Tensor lengths = OptionalInput(arguments, 4);
  const at::Tensor peepholes = OptionalInput(arguments, 7);
  TORCH_CHECK(given.dim() == 3 && weight.dim() == 3 && recurrent.dim() == 3, "input and weights must be 3-d");
  const at::Tensor x = batch_first ? given.transpose(0, 1) : given;
  if (lengths.defined()) {
    for (const int64_t length : Integers(lengths)) {
      TORCH_CHECK(length == x.size(0), "sequences must all have the input's length: length=", length,
                  " input=", x.size(0));
    }
  }
  const int64_t directions = direction == "bidirectional" ? 2 : 1;
  const int64_t size = recurrent.size(2);
  TORCH_CHECK(weight.size(0) == directions && recurrent.size(0) == directions && weight.size(1) == op.gates * size,
              "weights must fit direction and hidden size: weight=", weight.sizes(), " recurrent=", recurrent.sizes());
  const auto initial = [&](size_t input, int64_t index) {
    const at::Tensor state = OptionalInput(arguments, input);
    if (!state.defined()) return at::zeros({x.size(1), size}, x.options());
    return (batch_first ? state.transpose(0, 1) : state)[index];
  };
  std::vector<at::Tensor> all, last_hidden, last_cell;
  for (int64_t index = 0; index < directions; ++index) {
    CellWeights weights{.recurrent = recurrent[index], .input_bias = {}, .recurrent_bias = {}, .peepholes = {}};
    const std::vector<at::Tensor> biases =
        (bias.defined() ? bias[index] : at::zeros({2 * op.gates * size}, x.options())).chunk(2, 0);
    TORCH_CHECK(biases.size() == 2 && biases[0].numel() == op.gates * size, "bias must fit the hidden size");
    weights.input_bias = biases[0];
    weights.recurrent_bias = biases[1];
    if (peepholes.defined()) weights.peepholes = peepholes[index];
    CellState state{.hidden = initial(5, index), .cell = {}};
    if (op.has_cell_state) state.cell = initial(6, index);
    const bool reverse = direction == "reverse" || index == 1;
    auto [hidden, last] = RunDirection(op, x, weight[index], weights, std::move(state), reverse);
    all.push_back(hidden);
    last_hidden.push_back(last.hidden);
    last_cell.push_back(last.cell);
  }
  // Batch first: Y is batch x time x directions x hidden, the states batch x directions x hidden.
  at::Tensor y = at::stack(all, 1);
  if (batch_first) y = y.permute({2, 0, 1, 3});
  const int64_t state_axis = batch_first ? 1 : 0;
  std::vector<at::Tensor> outputs = {y, at::stack(last_hidden, state_axis)};
  if (op.has_cell_state) outputs.push_back(at::stack(last_cell, state_axis));
  return outputs;
}

// Only the activations that the op has by default, and no clipping.
absl::Status CheckCell(const Node& node, const std::vector<std::string>& defaults) {
  if (node.Has("clip")) return absl::UnimplementedError("clip of a recurrent op is not supported");
  if (node.IntOr("input_forget", 0) != 0) return absl::UnimplementedError("input_forget is not supported");
  const std::string direction = node.StringOr("direction", "forward");
  if (direction != "forward" && direction != "reverse" && direction != "bidirectional") {
    return absl::InvalidArgumentError("direction must be forward, reverse or bidirectional: direction=" + direction);
  }
  const auto found = node.attributes.find("activations");
  if (found == node.attributes.end()) return absl::OkStatus();
  const auto* names = std::get_if<std::vector<std::string>>(&found->second);
  for (size_t index = 0; names != nullptr && index < names->size(); ++index) {
    std::string name = (*names)[index];
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char letter) { return std::tolower(letter); });
    if (name != defaults[index % defaults.size()]) {
      return absl::UnimplementedError("activations of a recurrent op must be the default ones: activation=" +
                                      (*names)[index]);
    }
  }
  return absl::OkStatus();
}

Kernel RecurrentKernel(const Node& node, RecurrentOp op) {
  const std::string direction = node.StringOr("direction", "forward");
  const bool batch_first = node.IntOr("layout", 0) != 0;
  return [op = std::move(op), direction, batch_first](Arguments arguments) {
    return RunRecurrent(op, arguments, direction, batch_first);
  };
}

absl::StatusOr<Kernel> BindLstm(const Node& node, int64_t) {
  PACTORY_RETURN_IF_ERROR(CheckCell(node, {"sigmoid", "tanh", "tanh"}));
  return RecurrentKernel(node, {.gates = 4, .has_cell_state = true, .step = LstmStep});
}

absl::StatusOr<Kernel> BindGru(const Node& node, int64_t) {
  PACTORY_RETURN_IF_ERROR(CheckCell(node, {"sigmoid", "tanh"}));
  return RecurrentKernel(
      node, {.gates = 3, .has_cell_state = false, .step = GruStep(node.IntOr("linear_before_reset", 0) != 0)});
}

absl::StatusOr<Kernel> BindRnn(const Node& node, int64_t) {
  PACTORY_RETURN_IF_ERROR(CheckCell(node, {"tanh"}));
  return RecurrentKernel(node, {.gates = 1, .has_cell_state = false, .step = RnnStep});
}

const OpRegistration kLstm({.name = "LSTM", .bind = BindLstm});
const OpRegistration kGru({.name = "GRU", .bind = BindGru});
const OpRegistration kRnn({.name = "RNN", .bind = BindRnn});

}  // namespace
}  // namespace pactory::quant

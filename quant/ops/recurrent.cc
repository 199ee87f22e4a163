// LSTM, GRU and RNN. One loop runs them all; each gives the step from one state to the next.
#include <ATen/ATen.h>

#include <algorithm>
#include <cctype>

#include "base/status_macros.h"
#include "quant/ops/arguments.h"
#include "quant/ops/registry.h"

namespace pactory::quant {
namespace {

using Activation = std::function<at::Tensor(const at::Tensor&)>;

// The parameters of one direction, and what the step needs to know of the node.
struct CellWeights {
  // (gates * hidden) x hidden.
  at::Tensor recurrent;
  // gates * hidden each; zeros where the node has no bias.
  at::Tensor input_bias;
  at::Tensor recurrent_bias;
  // LSTM's peepholes, 3 * hidden; undefined where there are none.
  at::Tensor peepholes;
  // ONNX's f, g and h, as many as the op has.
  std::vector<Activation> activations;
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
  // Of one direction.
  int64_t activations = 1;
};

// Gates in the order i, o, f, c:
//   i = F(x Wi + h Ri + Pi c + bi)     f = F(x Wf + h Rf + Pf c + bf)
//   c' = f c + i G(x Wc + h Rc + bc)   o = F(x Wo + h Ro + Po c' + bo)   h' = o H(c')
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
  const Activation& f = weights.activations[0];
  after.cell = f(forget) * before.cell + f(input) * weights.activations[1](gates[3]);
  if (!peepholes.empty()) output = output + peepholes[1] * after.cell;
  after.hidden = f(output) * weights.activations[2](after.cell);
  return after;
}

// Gates in the order z, r, h:
//   z = F(x Wz + h Rz + bz)    r = F(x Wr + h Rr + br)    h' = (1 - z) n + z h
//   n = G(x Wh + (r h) Rh + bh), or with linear_before_reset n = G(x Wh + wbh + r (h Rh + rbh))
CellStep GruStep(bool linear_before_reset) {
  return [linear_before_reset](const at::Tensor& projected, const CellWeights& weights, const CellState& before) {
    const std::vector<at::Tensor> inputs = (projected + weights.input_bias).chunk(3, -1);
    const std::vector<at::Tensor> recurrent = weights.recurrent.chunk(3, 0);
    const std::vector<at::Tensor> biases = weights.recurrent_bias.chunk(3, -1);
    const auto linear = [&](const at::Tensor& hidden, int gate) {
      return at::matmul(hidden, recurrent[gate].t()) + biases[gate];
    };
    const Activation& f = weights.activations[0];
    const at::Tensor update = f(inputs[0] + linear(before.hidden, 0));
    const at::Tensor reset = f(inputs[1] + linear(before.hidden, 1));
    const at::Tensor candidate = weights.activations[1](
        inputs[2] + (linear_before_reset ? reset * linear(before.hidden, 2) : linear(reset * before.hidden, 2)));
    return CellState{.hidden = (1 - update) * candidate + update * before.hidden, .cell = {}};
  };
}

// h' = F(x W + h R + b)
CellState RnnStep(const at::Tensor& projected, const CellWeights& weights, const CellState& before) {
  const at::Tensor sums =
      projected + at::matmul(before.hidden, weights.recurrent.t()) + weights.input_bias + weights.recurrent_bias;
  return {.hidden = weights.activations[0](sums), .cell = {}};
}

// Runs one direction over x (time x batch x input); returns all hidden states in time order and the last state. Where
// `running` (time x batch x 1) is false, a sequence has ended: its state stays and its output is 0.
std::pair<at::Tensor, CellState> RunDirection(const RecurrentOp& op, const at::Tensor& x, const at::Tensor& weight,
                                              const CellWeights& weights, const at::Tensor& running, CellState state,
                                              bool reverse) {
  // All steps' inputs at once: one large product instead of many small ones.
  const at::Tensor projected = at::matmul(x, weight.t());
  std::vector<at::Tensor> hidden(x.size(0));
  for (int64_t step = 0; step < x.size(0); ++step) {
    const int64_t time = reverse ? x.size(0) - 1 - step : step;
    CellState after = op.step(projected[time], weights, state);
    hidden[time] = after.hidden;
    if (running.defined()) {
      hidden[time] = at::where(running[time], after.hidden, at::zeros_like(after.hidden));
      after.hidden = at::where(running[time], after.hidden, state.hidden);
      if (op.has_cell_state) after.cell = at::where(running[time], after.cell, state.cell);
    }
    state = std::move(after);
  }
  TORCH_CHECK(!hidden.empty(), "sequence must have at least one step");
  return {at::stack(hidden), state};
}

// Which steps of each sequence run, time x batch x 1; undefined where all do.
at::Tensor RunningSteps(const at::Tensor& lengths, const at::Tensor& x) {
  if (!lengths.defined()) return {};
  const std::vector<int64_t> values = Integers(lengths);
  TORCH_CHECK(static_cast<int64_t>(values.size()) == x.size(1), "there must be one length for each sequence: lengths=",
              values.size(), " sequences=", x.size(1));
  bool all = true;
  for (const int64_t length : values) {
    TORCH_CHECK(length >= 0 && length <= x.size(0), "lengths must be in the input's: length=", length,
                " input=", x.size(0));
    all = all && length == x.size(0);
  }
  if (all) return {};
  const at::Tensor ends = lengths.to(x.device(), at::kLong).reshape({1, -1, 1});
  return at::arange(x.size(0), ends.options()).reshape({-1, 1, 1}) < ends;
}

// Inputs X, W, R, B, sequence_lens, initial_h, initial_c, P; outputs Y, Y_h, Y_c.
std::vector<at::Tensor> RunRecurrent(const RecurrentOp& op, Arguments arguments, const std::string& direction,
                                     bool batch_first, const std::vector<Activation>& activations) {
  const at::Tensor& given = RequiredInput(arguments, 0);
  const at::Tensor& weight = RequiredInput(arguments, 1);
  const at::Tensor& recurrent = RequiredInput(arguments, 2);
  const at::Tensor bias = OptionalInput(arguments, 3);
  const at::Tensor lengths = OptionalInput(arguments, 4);
  const at::Tensor peepholes = OptionalInput(arguments, 7);
  TORCH_CHECK(given.dim() == 3 && weight.dim() == 3 && recurrent.dim() == 3, "input and weights must be 3-d");
  const at::Tensor x = batch_first ? given.transpose(0, 1) : given;
  const at::Tensor running = RunningSteps(lengths, x);
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
    CellWeights weights{
        .recurrent = recurrent[index], .input_bias = {}, .recurrent_bias = {}, .peepholes = {}, .activations = {}};
    const auto first = activations.begin() + index * op.activations;
    weights.activations.assign(first, first + op.activations);
    const std::vector<at::Tensor> biases =
        (bias.defined() ? bias[index] : at::zeros({2 * op.gates * size}, x.options())).chunk(2, 0);
    TORCH_CHECK(biases.size() == 2 && biases[0].numel() == op.gates * size, "bias must fit the hidden size");
    weights.input_bias = biases[0];
    weights.recurrent_bias = biases[1];
    if (peepholes.defined()) weights.peepholes = peepholes[index];
    CellState state{.hidden = initial(5, index), .cell = {}};
    if (op.has_cell_state) state.cell = initial(6, index);
    const bool reverse = direction == "reverse" || index == 1;
    auto [hidden, last] = RunDirection(op, x, weight[index], weights, running, std::move(state), reverse);
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

std::vector<float> FloatsOf(const Node& node, const char* name) {
  const auto found = node.attributes.find(name);
  if (found == node.attributes.end()) return {};
  const auto* values = std::get_if<std::vector<float>>(&found->second);
  return values == nullptr ? std::vector<float>() : *values;
}

std::vector<std::string> NamesOf(const Node& node, const char* name) {
  const auto found = node.attributes.find(name);
  if (found == node.attributes.end()) return {};
  const auto* values = std::get_if<std::vector<std::string>>(&found->second);
  return values == nullptr ? std::vector<std::string>() : *values;
}

// One activation; alpha and beta are taken from the front of the node's lists where the function has them.
absl::StatusOr<Activation> MakeActivation(std::string name, std::vector<float>& alphas, std::vector<float>& betas) {
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char letter) { return std::tolower(letter); });
  const auto take = [](std::vector<float>& values, double fallback) {
    if (values.empty()) return fallback;
    const double value = values.front();
    values.erase(values.begin());
    return value;
  };
  if (name == "sigmoid") return Activation([](const at::Tensor& x) { return at::sigmoid(x); });
  if (name == "tanh") return Activation([](const at::Tensor& x) { return at::tanh(x); });
  if (name == "relu") return Activation([](const at::Tensor& x) { return at::relu(x); });
  if (name == "softsign") return Activation([](const at::Tensor& x) { return x / (1 + at::abs(x)); });
  if (name == "softplus") return Activation([](const at::Tensor& x) { return at::softplus(x); });
  if (name == "leakyrelu") {
    return Activation([alpha = take(alphas, 0.01)](const at::Tensor& x) { return at::leaky_relu(x, alpha); });
  }
  if (name == "elu") return Activation([alpha = take(alphas, 1)](const at::Tensor& x) { return at::elu(x, alpha); });
  if (name == "hardsigmoid") {
    return Activation([alpha = take(alphas, 0.2), beta = take(betas, 0.5)](const at::Tensor& x) {
      return at::clamp(x * alpha + beta, 0, 1);
    });
  }
  if (name == "affine") {
    return Activation([alpha = take(alphas, 1), beta = take(betas, 0)](const at::Tensor& x) { return x * alpha + beta; });
  }
  if (name == "scaledtanh") {
    return Activation([alpha = take(alphas, 1), beta = take(betas, 1)](const at::Tensor& x) {
      return at::tanh(x * beta) * alpha;
    });
  }
  return absl::UnimplementedError("activation of a recurrent op is not supported: activation=" + name);
}

// The node's activations for all directions, `clip` applied in front of each; `defaults` are those of one direction.
absl::StatusOr<std::vector<Activation>> ReadActivations(const Node& node, const std::vector<std::string>& defaults) {
  const size_t count = defaults.size() * (node.StringOr("direction", "forward") == "bidirectional" ? 2 : 1);
  std::vector<std::string> names = NamesOf(node, "activations");
  for (size_t index = names.size(); names.size() < count && node.attributes.count("activations") == 0; ++index) {
    names.push_back(defaults[index % defaults.size()]);
  }
  if (names.size() != count) {
    return absl::InvalidArgumentError("activations must be given for each direction, or not at all");
  }
  std::vector<float> alphas = FloatsOf(node, "activation_alpha");
  std::vector<float> betas = FloatsOf(node, "activation_beta");
  const double clip = node.FloatOr("clip", 0);
  std::vector<Activation> activations;
  for (const std::string& name : names) {
    PACTORY_ASSIGN_OR_RETURN(Activation activation, MakeActivation(name, alphas, betas));
    if (clip > 0) {
      activation = [activation, clip](const at::Tensor& x) { return activation(at::clamp(x, -clip, clip)); };
    }
    activations.push_back(std::move(activation));
  }
  return activations;
}

absl::StatusOr<Kernel> BindRecurrent(const Node& node, RecurrentOp op, const std::vector<std::string>& defaults) {
  if (node.IntOr("input_forget", 0) != 0) return absl::UnimplementedError("input_forget is not supported");
  const std::string direction = node.StringOr("direction", "forward");
  if (direction != "forward" && direction != "reverse" && direction != "bidirectional") {
    return absl::InvalidArgumentError("direction must be forward, reverse or bidirectional: direction=" + direction);
  }
  PACTORY_ASSIGN_OR_RETURN(const std::vector<Activation> activations, ReadActivations(node, defaults));
  op.activations = static_cast<int64_t>(defaults.size());
  const bool batch_first = node.IntOr("layout", 0) != 0;
  return Kernel([op = std::move(op), direction, batch_first, activations](Arguments arguments) {
    return RunRecurrent(op, arguments, direction, batch_first, activations);
  });
}

absl::StatusOr<Kernel> BindLstm(const Node& node, int64_t) {
  return BindRecurrent(node, {.gates = 4, .has_cell_state = true, .step = LstmStep}, {"sigmoid", "tanh", "tanh"});
}

absl::StatusOr<Kernel> BindGru(const Node& node, int64_t) {
  const CellStep step = GruStep(node.IntOr("linear_before_reset", 0) != 0);
  return BindRecurrent(node, {.gates = 3, .has_cell_state = false, .step = step}, {"sigmoid", "tanh"});
}

absl::StatusOr<Kernel> BindRnn(const Node& node, int64_t) {
  return BindRecurrent(node, {.gates = 1, .has_cell_state = false, .step = RnnStep}, {"tanh"});
}

const OpRegistration kLstm({.name = "LSTM", .bind = BindLstm});
const OpRegistration kGru({.name = "GRU", .bind = BindGru});
const OpRegistration kRnn({.name = "RNN", .bind = BindRnn});

}  // namespace
}  // namespace pactory::quant

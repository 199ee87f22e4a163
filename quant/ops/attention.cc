// Attention and RotaryEmbedding, as ONNX defines them since opset 23, and com.microsoft's Attention and
// MultiHeadAttention, which ONNX Runtime's optimizer writes for the same pattern.
#include <ATen/ATen.h>

#include <cmath>
#include <limits>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "quant/onnx/tensor.h"
#include "quant/ops/arguments.h"
#include "quant/ops/registry.h"

namespace pactory::quant {
namespace {

struct AttentionAttributes {
  int64_t query_heads = 0;
  int64_t key_heads = 0;
  std::optional<double> scale;
  double softcap = 0;
  bool causal = false;
  // -1 leaves a side of the window open.
  int64_t left_window = -1;
  int64_t right_window = -1;
  // Which stage the fourth output shows.
  int64_t scores_mode = 0;
  std::optional<at::ScalarType> softmax_type;
};

// batch x heads x length x size, of a tensor that may have heads and size in one dimension.
at::Tensor SplitHeads(const at::Tensor& x, int64_t heads) {
  if (x.dim() == 4) return x;
  TORCH_CHECK(x.dim() == 3 && heads > 0 && x.size(2) % heads == 0,
              "inputs must be 4-d, or 3-d with a last dimension that the heads divide: dims=", x.sizes(),
              " heads=", heads);
  return x.reshape({x.size(0), x.size(1), heads, x.size(2) / heads}).transpose(1, 2);
}

// 0 where a position may be seen and minus infinity where not.
at::Tensor BiasOf(const at::Tensor& allowed, const at::TensorOptions& options) {
  return at::zeros(allowed.sizes(), options).masked_fill(allowed.logical_not(),
                                                          -std::numeric_limits<double>::infinity());
}

// A mask may be shorter than the keys: what it leaves out is not seen.
at::Tensor MaskBias(at::Tensor mask, int64_t keys, const at::TensorOptions& options) {
  const bool truth = mask.scalar_type() == at::kBool;
  at::Tensor bias = truth ? BiasOf(mask, options) : mask.to(options);
  const int64_t missing = keys - bias.size(-1);
  TORCH_CHECK(missing >= 0, "mask must not be longer than the keys: mask=", bias.size(-1), " keys=", keys);
  return missing == 0 ? bias
                      : at::constant_pad_nd(bias, {0, missing}, -std::numeric_limits<double>::infinity());
}

// Query i stands at position i + offset among the keys; causal and window bounds count from there.
at::Tensor PositionBias(const AttentionAttributes& how, const at::Tensor& offset, int64_t queries, int64_t keys,
                        const at::TensorOptions& options) {
  const auto whole = options.dtype(at::kLong).requires_grad(false);
  const at::Tensor distance = at::arange(queries, whole).unsqueeze(1) + offset - at::arange(keys, whole);
  at::Tensor allowed = at::ones_like(distance, whole.dtype(at::kBool));
  if (how.causal) allowed = allowed.logical_and(distance >= 0);
  if (how.left_window >= 0) allowed = allowed.logical_and(distance <= how.left_window);
  if (how.right_window >= 0) allowed = allowed.logical_and(distance >= -how.right_window);
  return BiasOf(allowed, options);
}

// Inputs Q, K, V, mask, past key, past value, lengths; outputs Y, present key, present value, scores.
std::vector<at::Tensor> RunAttention(const AttentionAttributes& how, Arguments arguments) {
  const at::Tensor& given = RequiredInput(arguments, 0);
  const at::Tensor query = SplitHeads(given, how.query_heads);
  at::Tensor key = SplitHeads(RequiredInput(arguments, 1), how.key_heads);
  at::Tensor value = SplitHeads(RequiredInput(arguments, 2), how.key_heads);
  const at::Tensor mask = OptionalInput(arguments, 3);
  const at::Tensor past_key = OptionalInput(arguments, 4);
  const at::Tensor past_value = OptionalInput(arguments, 5);
  const at::Tensor lengths = OptionalInput(arguments, 6);
  TORCH_CHECK(past_key.defined() == past_value.defined(), "past key and value must be given together");
  if (past_key.defined()) {
    key = at::cat({past_key, key}, 2);
    value = at::cat({past_value, value}, 2);
  }
  const at::Tensor present_key = key;
  const at::Tensor present_value = value;
  const int64_t queries = query.size(2);
  const int64_t keys = key.size(2);
  const auto options = query.options().requires_grad(false);

  at::Tensor bias = at::zeros({queries, keys}, options);
  if (mask.defined()) bias = bias + MaskBias(mask, keys, options);
  if (how.causal || how.left_window >= 0 || how.right_window >= 0) {
    at::Tensor offset = at::scalar_tensor(past_key.defined() ? past_key.size(2) : 0, options.dtype(at::kLong));
    if (!past_key.defined() && lengths.defined()) {
      offset = lengths.to(options.dtype(at::kLong)).reshape({-1, 1, 1, 1}) - queries;
    }
    bias = bias + PositionBias(how, offset, queries, keys, options);
  }
  if (lengths.defined()) {
    const at::Tensor seen = at::arange(keys, options.dtype(at::kLong)) < lengths.to(options.device()).reshape({-1, 1, 1, 1});
    bias = bias + BiasOf(seen, options);
  }
  if (key.size(1) != query.size(1)) {
    TORCH_CHECK(key.size(1) > 0 && query.size(1) % key.size(1) == 0, "heads of the keys must divide those of the queries: ",
                key.size(1), " and ", query.size(1));
    key = at::repeat_interleave(key, query.size(1) / key.size(1), 1);
    value = at::repeat_interleave(value, query.size(1) / value.size(1), 1);
  }
  // Half of the scale on each side keeps narrow types from overflowing.
  const double half = std::sqrt(how.scale.value_or(1 / std::sqrt(static_cast<double>(query.size(3)))));
  at::Tensor scores = at::matmul(query * half, key.transpose(-1, -2) * half);
  if (how.softcap > 0) scores = at::tanh(scores / how.softcap) * how.softcap;
  at::Tensor shown = scores;
  scores = scores + bias;
  if (how.scores_mode == 2) shown = scores;
  // A query that may see nothing gets 0, not the NaN of a softmax without terms.
  const at::Tensor blind = at::isneginf(at::amax(bias, {-1}, /*keepdim=*/true));
  const at::Tensor weights =
      at::softmax(scores.masked_fill(blind, 0), -1, how.softmax_type).to(query.scalar_type()).masked_fill(blind, 0);
  if (how.scores_mode == 3) shown = weights;
  at::Tensor output = at::matmul(weights, value);
  if (given.dim() == 3) output = output.transpose(1, 2).reshape({output.size(0), queries, -1});
  return {output, present_key, present_value, shown};
}

absl::StatusOr<Kernel> BindAttention(const Node& node, int64_t) {
  AttentionAttributes how;
  how.query_heads = node.IntOr("q_num_heads", 0);
  how.key_heads = node.IntOr("kv_num_heads", 0);
  if (node.Has("scale")) how.scale = node.FloatOr("scale", 1);
  if (how.scale && *how.scale < 0) return absl::InvalidArgumentError("scale must not be negative");
  how.softcap = node.FloatOr("softcap", 0);
  how.causal = node.IntOr("is_causal", 0) != 0;
  how.left_window = node.IntOr("left_window_size", -1);
  how.right_window = node.IntOr("right_window_size", -1);
  how.scores_mode = node.IntOr("qk_matmul_output_mode", 0);
  if (how.scores_mode < 0 || how.scores_mode > 3) {
    return absl::InvalidArgumentError(absl::StrCat("qk_matmul_output_mode must be from 0 to 3: value=", how.scores_mode));
  }
  if (node.IntOr("softmax_precision", 0) != 0) {
    PACTORY_ASSIGN_OR_RETURN(how.softmax_type, ScalarTypeOf(static_cast<int>(node.IntOr("softmax_precision", 0))));
  }
  return Kernel([how](Arguments arguments) { return RunAttention(how, arguments); });
}

// Rotates pairs of a head's first `rotated` numbers by the angles of their position:
//   (a, b) -> (a cos - b sin, a sin + b cos)
absl::StatusOr<Kernel> BindRotaryEmbedding(const Node& node, int64_t) {
  const bool interleaved = node.IntOr("interleaved", 0) != 0;
  const int64_t given_size = node.IntOr("rotary_embedding_dim", 0);
  const int64_t heads = node.IntOr("num_heads", 0);
  return Kernel([=](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& given = RequiredInput(arguments, 0);
    const at::Tensor x = SplitHeads(given, heads);
    const int64_t rotated = given_size > 0 ? given_size : x.size(3);
    TORCH_CHECK(rotated % 2 == 0 && rotated <= x.size(3), "rotated numbers must be even and in the head: ", rotated);
    const auto angles = [&](size_t input) {
      at::Tensor cache = RequiredInput(arguments, input);
      if (const at::Tensor positions = OptionalInput(arguments, 3); positions.defined()) {
        std::vector<int64_t> shape = positions.sizes().vec();
        shape.push_back(cache.size(-1));
        cache = at::index_select(cache, 0, positions.reshape({-1}).to(cache.device())).reshape(shape);
      }
      return cache.unsqueeze(1);
    };
    const at::Tensor cosine = angles(1);
    const at::Tensor sine = angles(2);
    const at::Tensor turning = x.narrow(3, 0, rotated);
    const int64_t half = rotated / 2;
    const at::Tensor a = interleaved ? turning.slice(3, 0, rotated, 2) : turning.narrow(3, 0, half);
    const at::Tensor b = interleaved ? turning.slice(3, 1, rotated, 2) : turning.narrow(3, half, half);
    const at::Tensor real = a * cosine - b * sine;
    const at::Tensor imaginary = a * sine + b * cosine;
    const at::Tensor turned = interleaved ? at::stack({real, imaginary}, -1).flatten(3) : at::cat({real, imaginary}, 3);
    const at::Tensor output = at::cat({turned, x.narrow(3, rotated, x.size(3) - rotated)}, 3);
    return {given.dim() == 3 ? output.transpose(1, 2).reshape(given.sizes()) : output};
  });
}

struct MicrosoftAttention {
  int64_t heads = 1;
  std::optional<double> scale;
  // What is added where a mask is 0.
  double masked = -10000;
  bool causal = false;
};

absl::StatusOr<MicrosoftAttention> ReadMicrosoftAttention(const Node& node) {
  MicrosoftAttention how;
  how.heads = node.IntOr("num_heads", 0);
  if (how.heads < 1) return absl::InvalidArgumentError("num_heads must be at least 1");
  if (node.FloatOr("scale", 0) > 0) how.scale = node.FloatOr("scale", 0);
  how.masked = node.FloatOr("mask_filter_value", -10000);
  how.causal = node.IntOr("unidirectional", 0) != 0;
  if (node.IntOr("do_rotary", 0) != 0) return absl::UnimplementedError("do_rotary is not supported");
  return how;
}

// softmax(q k' scale + mask + bias) v of 3-d tensors; `mask` is batch x keys.
at::Tensor AttendHeads(const MicrosoftAttention& how, const at::Tensor& query, const at::Tensor& key,
                       const at::Tensor& value, const at::Tensor& mask, const at::Tensor& bias) {
  const at::Tensor q = SplitHeads(query, how.heads);
  const at::Tensor k = SplitHeads(key, how.heads);
  const double scale = how.scale.value_or(1 / std::sqrt(static_cast<double>(q.size(3))));
  const auto options = q.options().requires_grad(false);
  at::Tensor scores = at::matmul(q, k.transpose(-1, -2)) * scale;
  if (bias.defined()) scores = scores + bias;
  if (mask.defined()) {
    TORCH_CHECK(mask.dim() == 2 && mask.size(0) == q.size(0) && mask.size(1) == k.size(2),
                "mask must be batch x keys: dims=", mask.sizes());
    scores = scores + ((1 - mask.to(options)) * how.masked).reshape({mask.size(0), 1, 1, mask.size(1)});
  }
  if (how.causal) {
    AttentionAttributes order;
    order.causal = true;
    const at::Tensor none = at::scalar_tensor(0, options.dtype(at::kLong));
    scores = scores + PositionBias(order, none, q.size(2), k.size(2), options);
  }
  const at::Tensor output = at::matmul(at::softmax(scores, -1), SplitHeads(value, how.heads));
  return output.transpose(1, 2).reshape({query.size(0), query.size(1), -1});
}

absl::Status RefuseInputs(const Node& node, size_t first) {
  for (size_t index = first; index < node.inputs.size(); ++index) {
    if (!node.inputs[index].empty()) {
      return absl::UnimplementedError(absl::StrCat("past states are not supported: input=", index));
    }
  }
  return absl::OkStatus();
}

// Inputs x, weights of q, k and v side by side, their bias, mask, past, bias of the scores.
absl::StatusOr<Kernel> BindMicrosoftAttention(const Node& node, int64_t) {
  PACTORY_ASSIGN_OR_RETURN(const MicrosoftAttention how, ReadMicrosoftAttention(node));
  PACTORY_RETURN_IF_ERROR(RefuseInputs(node, 6));
  if (node.inputs.size() > 4 && !node.inputs[4].empty()) return absl::UnimplementedError("past is not supported");
  const std::vector<int64_t> given_sizes = node.IntsOr("qkv_hidden_sizes", {});
  return Kernel([how, given_sizes](Arguments arguments) -> std::vector<at::Tensor> {
    const at::Tensor& weights = RequiredInput(arguments, 1);
    at::Tensor projected = at::matmul(RequiredInput(arguments, 0), weights);
    if (const at::Tensor bias = OptionalInput(arguments, 2); bias.defined()) projected = projected + bias;
    const std::vector<int64_t> sizes =
        given_sizes.empty() ? std::vector<int64_t>(3, weights.size(-1) / 3) : given_sizes;
    const std::vector<at::Tensor> parts = at::split_with_sizes(projected, sizes, -1);
    TORCH_CHECK(parts.size() == 3, "qkv_hidden_sizes must be three: values=", parts.size());
    return {AttendHeads(how, parts[0], parts[1], parts[2], OptionalInput(arguments, 3), OptionalInput(arguments, 5))};
  });
}

// Inputs q, k, v, their biases side by side, mask, bias of the scores.
absl::StatusOr<Kernel> BindMultiHeadAttention(const Node& node, int64_t) {
  PACTORY_ASSIGN_OR_RETURN(const MicrosoftAttention how, ReadMicrosoftAttention(node));
  PACTORY_RETURN_IF_ERROR(RefuseInputs(node, 6));
  return Kernel([how](Arguments arguments) -> std::vector<at::Tensor> {
    std::vector<at::Tensor> parts;
    for (const size_t index : {0, 1, 2}) {
      parts.push_back(RequiredInput(arguments, index));
      TORCH_CHECK(parts.back().dim() == 3, "packed inputs are not supported: dims=", parts.back().sizes());
    }
    if (const at::Tensor bias = OptionalInput(arguments, 3); bias.defined()) {
      const std::vector<at::Tensor> biases =
          at::split_with_sizes(bias, {parts[0].size(2), parts[1].size(2), parts[2].size(2)});
      for (size_t index = 0; index < parts.size(); ++index) parts[index] = parts[index] + biases[index];
    }
    return {AttendHeads(how, parts[0], parts[1], parts[2], OptionalInput(arguments, 4), OptionalInput(arguments, 5))};
  });
}

const OpRegistration kMicrosoftAttention(
    {.name = "Attention", .domain = "com.microsoft", .bind = BindMicrosoftAttention});
const OpRegistration kMultiHeadAttention(
    {.name = "MultiHeadAttention", .domain = "com.microsoft", .bind = BindMultiHeadAttention});
const OpRegistration kAttention({.name = "Attention", .first_opset = 23, .bind = BindAttention});
const OpRegistration kRotaryEmbedding({.name = "RotaryEmbedding", .first_opset = 23, .bind = BindRotaryEmbedding});

}  // namespace
}  // namespace pactory::quant

#include "quant/training/batch_norm.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "config/config_rules.h"
#include "quant/passes/fold_batch_norm.h"
#include "quant/passes/insert_quantizers.h"
#include "quant/quantizers/quantized_model.h"
#include "tests/quant/make_graph.h"

namespace pactory::quant {
namespace {

constexpr double kEpsilon = 0.01;

// x -> Conv -> BatchNormalization -> Relu -> Conv -> y, with its constants kept to compare with.
struct Network {
  std::map<std::string, at::Tensor> constants;
  Graph folded;

  explicit Network(bool with_bias = true) {
    at::manual_seed(3);
    constants = {{"w", at::randn({5, 3, 3, 3}) * 0.3},  {"gamma", at::randn({5})}, {"beta", at::randn({5})}, {"mean", at::randn({5})},
                 {"var", at::rand({5}) + 0.5}, {"w2", at::randn({2, 5, 1, 1})}};
    std::vector<std::string> inputs = {"x", "w"};
    if (with_bias) {
      constants["b"] = at::randn({5});
      inputs.push_back("b");
    }
    folded = GraphOf({-1, 3, 6, 6},
                     {NodeOf("Conv", inputs, "c"),
                      NodeOf("BatchNormalization", {"c", "gamma", "beta", "mean", "var"}, "n", {{"epsilon", static_cast<float>(kEpsilon)}}),
                      NodeOf("Relu", {"n"}, "r"), NodeOf("Conv", {"r", "w2"}, "y")},
                     constants);
    EXPECT_TRUE(FoldBatchNorm(folded).ok());
    folded.RemoveDeadCode();
  }
};

struct Unfolded {
  std::unique_ptr<BatchNormTraining> batch_norms;
  std::unique_ptr<QuantizedModel> model;

  Unfolded(Graph graph, const std::vector<QuantizerSpec>& specs = {}) {
    auto layers = UnfoldBatchNorms(graph);
    EXPECT_TRUE(layers.ok()) << layers.status();
    batch_norms = std::make_unique<BatchNormTraining>(*std::move(layers));
    auto made = QuantizedModel::Create(graph, specs, [&](const Node& node) { return batch_norms->Bind(node); });
    EXPECT_TRUE(made.ok()) << made.status();
    model = *std::move(made);
  }

  at::Tensor Run(const at::Tensor& x) {
    auto outputs = model->executor().Run({x});
    EXPECT_TRUE(outputs.ok()) << outputs.status();
    return (*outputs)[0];
  }

  at::Tensor& Parameter(std::string UnfoldedLayer::*name) { return model->parameters().at(batch_norms->layers().at(0).*name); }
};

TEST(BatchNormTrainingTest, FrozenModelIsTheFoldedOne) {
  for (const bool with_bias : {true, false}) {
    const Network network(with_bias);
    Unfolded unfolded(network.folded);
    ASSERT_EQ(unfolded.batch_norms->layers().size(), 1u);
    EXPECT_TRUE(at::allclose(unfolded.Parameter(&UnfoldedLayer::raw_weight), network.constants.at("w"), 1e-4, 1e-5));
    const at::Tensor x = at::randn({4, 3, 6, 6});
    EXPECT_TRUE(at::allclose(unfolded.Run(x), RunGraph(network.folded, {x}), 1e-4, 1e-5));
    const auto folded = unfolded.batch_norms->FoldedParameters(unfolded.model->parameters());
    for (const auto& [name, tensor] : folded) {
      EXPECT_TRUE(at::allclose(tensor, network.folded.initializers.at(name), 1e-4, 1e-5)) << name;
    }
  }
}

// LibTorch's own batch_norm is the reference: outputs, gradients and running statistics.
TEST(BatchNormTrainingTest, FollowingBatchesIsPlainBatchNormalization) {
  Network network;
  Unfolded unfolded(network.folded);
  ASSERT_LT(network.constants.at("gamma").min().item<float>(), 0) << "the sign of gamma matters";
  std::vector<at::Tensor> ours;
  for (const auto name : {&UnfoldedLayer::raw_weight, &UnfoldedLayer::gamma, &UnfoldedLayer::beta}) {
    at::Tensor& parameter = unfolded.Parameter(name);
    parameter = parameter.detach().clone().requires_grad_(true);
    ours.push_back(parameter);
  }
  at::Tensor mean = unfolded.Parameter(&UnfoldedLayer::mean).clone(), variance = unfolded.Parameter(&UnfoldedLayer::variance).clone();
  std::vector<at::Tensor> theirs;
  for (const at::Tensor& parameter : ours) theirs.push_back(parameter.detach().clone().requires_grad_(true));
  const at::Tensor x = at::randn({8, 3, 6, 6}), upstream = at::randn({8, 2, 4, 4});

  unfolded.batch_norms->FollowBatches(0.1);
  const at::Tensor y = unfolded.Run(x);
  (y * upstream).sum().backward();
  const at::Tensor normal = at::batch_norm(at::conv2d(x, theirs[0]), theirs[1], theirs[2], mean, variance, /*training=*/true,
                                           /*momentum=*/0.1, kEpsilon, /*cudnn_enabled=*/false);
  const at::Tensor expected = at::conv2d(at::relu(normal), network.constants.at("w2"));
  (expected * upstream).sum().backward();

  EXPECT_TRUE(at::allclose(y, expected, 1e-3, 1e-4));
  for (size_t i = 0; i < ours.size(); ++i) EXPECT_TRUE(at::allclose(ours[i].grad(), theirs[i].grad(), 1e-3, 1e-3)) << i;
  EXPECT_TRUE(at::allclose(unfolded.Parameter(&UnfoldedLayer::mean), mean, 1e-4, 1e-4));
  EXPECT_TRUE(at::allclose(unfolded.Parameter(&UnfoldedLayer::variance), variance, 1e-4, 1e-4));
}

TEST(BatchNormTrainingTest, MomentaOfOneOverTheirNumberGiveTheMeanOfTheBatches) {
  const Network network;
  Unfolded unfolded(network.folded);
  at::Tensor sum = at::zeros({5});
  for (int i = 1; i <= 4; ++i) {
    const at::Tensor x = at::randn({8, 3, 6, 6});
    sum += at::conv2d(x, unfolded.Parameter(&UnfoldedLayer::raw_weight)).mean({0, 2, 3});
    unfolded.batch_norms->FollowBatches(1.0 / i);
    unfolded.Run(x);
  }
  EXPECT_TRUE(at::allclose(unfolded.Parameter(&UnfoldedLayer::mean), sum / 4, 1e-3, 1e-4));
}

TEST(BatchNormTrainingTest, QuantizersSeeTheFoldedWeight) {
  Network network;
  v1::QuantizationConfig config;
  FillDefaults(config);
  Graph quantized = network.folded;
  const auto plan = InsertQuantizers(quantized, config);
  ASSERT_TRUE(plan.ok()) << plan.status();
  std::vector<QuantizerSpec> specs;
  for (const ActivationPlacement& placement : plan->activations) {
    specs.push_back({.id = placement.id, .method = v1::PACT_TWO_SIDED, .threshold = 4});
  }
  for (const WeightPlacement& placement : plan->weights) {
    specs.push_back({.id = placement.id, .method = v1::CHANNEL_ABS_MAX, .target = QuantizerTarget::kWeight, .channel_axis = placement.channel_axis});
  }
  Unfolded unfolded(quantized, specs);
  ASSERT_EQ(unfolded.batch_norms->layers().size(), 1u);
  const std::string weight = unfolded.batch_norms->layers()[0].weight;
  at::Tensor seen;
  unfolded.model->Observe([&](const Quantizer& quantizer, const at::Tensor& x) {
    if (quantizer.spec().id == weight) seen = x.detach();
  });
  const at::Tensor x = at::randn({4, 3, 6, 6});
  const at::Tensor y = unfolded.Run(x);
  ASSERT_TRUE(seen.defined());
  EXPECT_TRUE(at::allclose(seen, network.folded.initializers.at(weight), 1e-4, 1e-5));
  auto plain = QuantizedModel::Create(quantized, specs);
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_TRUE(at::allclose(y, (*(*plain)->executor().Run({x}))[0], 1e-2, 2e-2));
}

TEST(BatchNormTrainingTest, ALayerWhoseWeightAPassReplacedStaysFolded) {
  Network network;
  const Node* conv = network.folded.Producer("n");
  ASSERT_NE(conv, nullptr);
  at::Tensor& weight = network.folded.initializers.at(conv->inputs[1]);
  weight = weight * 2;
  Graph graph = network.folded;
  const auto layers = UnfoldBatchNorms(graph);
  ASSERT_TRUE(layers.ok()) << layers.status();
  EXPECT_TRUE(layers->empty());
}

}  // namespace
}  // namespace pactory::quant

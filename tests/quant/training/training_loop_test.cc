#include "quant/training/training_loop.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "config/config_rules.h"
#include "quant/passes/insert_quantizers.h"

namespace pactory::quant {
namespace {

constexpr int64_t kBatch = 16;

Node MakeNode(std::string op, std::vector<std::string> inputs, std::string output) {
  Node node;
  node.name = output + "_node";
  node.op_type = std::move(op);
  node.inputs = std::move(inputs);
  node.outputs = {std::move(output)};
  return node;
}

// x (N x 6) -> Gemm -> Relu -> Gemm -> logits (N x 3)
Graph TwoLayers() {
  at::manual_seed(5);
  Graph graph;
  graph.opsets[""] = 13;
  graph.inputs = {{.name = "x", .dims = {-1, 6}}};
  graph.outputs = {{.name = "logits", .dims = {-1, 3}}};
  graph.initializers = {{"w1", at::randn({6, 8})}, {"b1", at::zeros({8})}, {"w2", at::randn({8, 3})}, {"b2", at::zeros({3})}};
  graph.nodes = {MakeNode("Gemm", {"x", "w1", "b1"}, "a"), MakeNode("Relu", {"a"}, "r"),
                 MakeNode("Gemm", {"r", "w2", "b2"}, "logits")};
  return graph;
}

// The same batch for the same step, whoever asks.
absl::StatusOr<TrainingBatch> BatchOf(int64_t step) {
  at::manual_seed(static_cast<uint64_t>(100 + step));
  TrainingBatch batch;
  batch.x = at::randn({kBatch, 6});
  batch.labels = batch.x.slice(1, 0, 3).argmax(1);
  return batch;
}

struct Fixture {
  std::unique_ptr<QuantizedModel> model;
  TrainingTask task;

  explicit Fixture(v1::QuantizerMethod method = v1::PACT_TWO_SIDED, int steps = 60,
                   v1::QuantizerMethod weight_method = v1::CHANNEL_ABS_MAX) {
    v1::QuantizationConfig config;
    FillDefaults(config);
    config.mutable_activations()->set_method(method);
    Graph graph = TwoLayers();
    auto plan = InsertQuantizers(graph, config);
    EXPECT_TRUE(plan.ok()) << plan.status();
    std::vector<QuantizerSpec> specs;
    for (const ActivationPlacement& placement : plan->activations) {
      specs.push_back({.id = placement.id, .method = method, .threshold = 1.5});
    }
    for (const WeightPlacement& placement : plan->weights) {
      specs.push_back({.id = placement.id, .method = weight_method, .target = QuantizerTarget::kWeight,
                       .channel_axis = placement.channel_axis});
    }
    auto made = QuantizedModel::Create(graph, specs);
    EXPECT_TRUE(made.ok()) << made.status();
    model = *std::move(made);
    task.config = config.training();
    task.config.set_steps(steps);
    task.config.set_learning_rate(0.02);
    task.config.set_checkpoint_every(10);
    task.alpha = config.activations().alpha();
    task.alpha.set_learning_rate_multiplier(2);
    task.loss = {.task = 1};
    task.logits = "logits";
    task.weights = {"w1", "w2"};
    task.biases = {"b1", "b2"};
  }

  at::Tensor Run(const at::Tensor& x) {
    auto outputs = model->executor().Run({x});
    EXPECT_TRUE(outputs.ok()) << outputs.status();
    return (*outputs)[0].detach();
  }
};

TEST(TrainingLoopTest, LossFallsAndWeightsBiasesAndAlphasMove) {
  Fixture fixture;
  const at::Tensor weight = fixture.model->parameters().at("w1").clone();
  TrainingLoop loop(*fixture.model, fixture.task, BatchOf);
  const auto history = loop.Run({});
  ASSERT_TRUE(history.ok()) << history.status();
  ASSERT_EQ(history->steps.size(), 60u);
  double first = 0, last = 0;
  for (int i = 0; i < 10; ++i) {
    first += history->steps[i].loss;
    last += history->steps[50 + i].loss;
  }
  EXPECT_LT(last, 0.75 * first);
  EXPECT_FALSE(at::allclose(weight, fixture.model->parameters().at("w1")));
  EXPECT_GT(fixture.model->parameters().at("b2").abs().max().item<float>(), 0);
  ASSERT_EQ(history->alpha_names, (std::vector<std::string>{"r", "x"}));
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(history->alphas.front().values[i], 1.5);
    EXPECT_GT(std::fabs(history->alphas.back().values[i] - 1.5), 0.01) << history->alpha_names[i];
  }
}

TEST(TrainingLoopTest, ResumedTrainingIsTheSameToTheLastBit) {
  for (const auto method : {v1::PACT_TWO_SIDED, v1::MOVING_AVERAGE_ABS_MAX}) {
    Fixture whole(method), resumed(method);
    Checkpoint middle;
    TrainingHooks hooks;
    hooks.on_checkpoint = [&](const Checkpoint& checkpoint, int64_t step) {
      if (step == 30) middle = *ParseCheckpoint(SerializeCheckpoint(checkpoint));
      return absl::OkStatus();
    };
    const auto history = TrainingLoop(*whole.model, whole.task, BatchOf).Run(hooks);
    ASSERT_TRUE(history.ok()) << history.status();
    ASSERT_FALSE(middle.empty());
    TrainingLoop loop(*resumed.model, resumed.task, BatchOf);
    ASSERT_TRUE(loop.Restore(middle).ok()) << loop.Restore(middle);
    const auto rest = loop.Run({});
    ASSERT_TRUE(rest.ok()) << rest.status();
    EXPECT_EQ(rest->steps.size(), 60u);
    EXPECT_EQ(rest->steps.back().loss, history->steps.back().loss);
    const at::Tensor x = at::randn({9, 6});
    EXPECT_TRUE(at::equal(whole.Run(x), resumed.Run(x)));
  }
}

TEST(TrainingLoopTest, RangesOfWeightsAreLearnedByChannelAndResumeToTheLastBit) {
  Fixture whole(v1::LSQ, 60, v1::CHANNEL_LSQ), resumed(v1::LSQ, 60, v1::CHANNEL_LSQ);
  Checkpoint middle;
  TrainingHooks hooks;
  hooks.on_checkpoint = [&](const Checkpoint& checkpoint, int64_t step) {
    if (step == 30) middle = *ParseCheckpoint(SerializeCheckpoint(checkpoint));
    return absl::OkStatus();
  };
  const auto history = TrainingLoop(*whole.model, whole.task, BatchOf).Run(hooks);
  ASSERT_TRUE(history.ok()) << history.status();
  ASSERT_EQ(history->alpha_names, (std::vector<std::string>{"r", "x", "w1/range", "w2/range"}));
  const at::Tensor ranges = *whole.model->Find("w1")->learned()[0].tensor;
  EXPECT_EQ(ranges.numel(), 8);
  EXPECT_GT((ranges - ranges[0]).abs().max().item<double>(), 1e-3);
  EXPECT_NEAR(history->alphas.back().values[2], ranges.mean().item<double>(), 1e-6);
  TrainingLoop loop(*resumed.model, resumed.task, BatchOf);
  ASSERT_TRUE(loop.Restore(middle).ok()) << loop.Restore(middle);
  ASSERT_TRUE(loop.Run({}).ok());
  EXPECT_TRUE(at::equal(ranges, *resumed.model->Find("w1")->learned()[0].tensor));
  const at::Tensor x = at::randn({9, 6});
  EXPECT_TRUE(at::equal(whole.Run(x), resumed.Run(x)));
}

TEST(TrainingLoopTest, OneBadBatchRollsBackHalvesTheRateAndGoesOn) {
  Fixture fixture;
  bool bad_came = false;
  TrainingLoop loop(*fixture.model, fixture.task, [&](int64_t step) {
    auto batch = BatchOf(step);
    if (step == 25 && !bad_came) {
      bad_came = true;
      batch->x[0][0] = std::numeric_limits<float>::quiet_NaN();
    }
    return batch;
  });
  const auto history = loop.Run({});
  ASSERT_TRUE(history.ok()) << history.status();
  EXPECT_EQ(history->rollbacks, 1);
  ASSERT_EQ(history->warnings.size(), 1u);
  EXPECT_NE(history->warnings[0].find("step 26"), std::string::npos) << history->warnings[0];
  EXPECT_NE(history->warnings[0].find("step 20"), std::string::npos) << history->warnings[0];
  ASSERT_EQ(history->steps.size(), 60u);
  for (size_t i = 0; i < history->steps.size(); ++i) EXPECT_EQ(history->steps[i].step, static_cast<int64_t>(i) + 1);
  EXPECT_TRUE(std::isfinite(fixture.Run(at::randn({4, 6})).sum().item<float>()));
}

TEST(TrainingLoopTest, EndlessDivergenceIsAnErrorThatSaysWhatToDo) {
  Fixture fixture;
  TrainingLoop loop(*fixture.model, fixture.task, [](int64_t step) {
    auto batch = BatchOf(step);
    if (step >= 12) batch->x.fill_(std::numeric_limits<float>::quiet_NaN());
    return batch;
  });
  const auto history = loop.Run({});
  EXPECT_EQ(history.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(history.status().message().find("training.learning_rate"), std::string::npos) << history.status();
}

TEST(TrainingLoopTest, ForeignCheckpointsAreRefusedAndChangeNothing) {
  Fixture fixture, other(v1::PACT_TWO_SIDED, 61);
  Checkpoint foreign;
  TrainingHooks hooks;
  hooks.on_checkpoint = [&](const Checkpoint& checkpoint, int64_t) {
    foreign = checkpoint;
    return absl::OkStatus();
  };
  ASSERT_TRUE(TrainingLoop(*other.model, other.task, BatchOf).Run(hooks).ok());
  TrainingLoop loop(*fixture.model, fixture.task, BatchOf);
  const at::Tensor weight = fixture.model->parameters().at("w1").detach().clone();
  EXPECT_EQ(loop.Restore(foreign).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(loop.Restore({}).code(), absl::StatusCode::kFailedPrecondition);
  foreign.erase("quantizer/x/alpha");
  EXPECT_EQ(loop.Restore(foreign).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(at::equal(weight, fixture.model->parameters().at("w1")));
}

TEST(TrainingLoopTest, AHookCanEndTheTraining) {
  Fixture fixture;
  TrainingHooks hooks;
  hooks.on_step = [](const StepRecord& record) {
    return record.step == 3 ? absl::CancelledError("ended on request") : absl::OkStatus();
  };
  EXPECT_EQ(TrainingLoop(*fixture.model, fixture.task, BatchOf).Run(hooks).status().code(), absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace pactory::quant

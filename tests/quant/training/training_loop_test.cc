#include "quant/training/training_loop.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <utility>

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
  batch.inputs = {at::randn({kBatch, 6})};
  batch.labels = batch.inputs[0].slice(1, 0, 3).argmax(1);
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
    task.task_values = {"logits"};
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

// Adam's first step has the size of its rate, whatever the gradient.
TEST(TrainingLoopTest, RelativeRateIsInUnitsOfEachTensorsRootMeanSquare) {
  Fixture fixture(v1::PACT_TWO_SIDED, 1);
  fixture.task.config.set_relative_learning_rate(true);
  fixture.task.config.set_learning_rate(0.01);
  fixture.task.config.set_weight_decay(0);
  at::Tensor& large = fixture.model->parameters().at("w2");
  large = large.detach() * 1000;
  fixture.model->parameters().at("b2") = at::tensor({3.0f, 4.0f, 0.0f});
  std::map<std::string, at::Tensor> before;
  for (const char* name : {"w1", "w2", "b1", "b2"}) before[name] = fixture.model->parameters().at(name).clone();
  ASSERT_TRUE(TrainingLoop(*fixture.model, fixture.task, BatchOf).Run({}).ok());
  const auto moved = [&](const char* name) {
    return (fixture.model->parameters().at(name).detach() - before.at(name)).abs().max().item<double>();
  };
  for (const char* name : {"w1", "w2"}) {
    const double size = std::sqrt(before.at(name).to(at::kDouble).square().mean().item<double>());
    EXPECT_NEAR(moved(name) / (0.01 * size), 1, 1e-3) << name;
  }
  EXPECT_NEAR(moved("b2"), 0.01 * 5 / std::sqrt(3.0), 1e-5);
  // A bias of zeros has a size of 1e-3.
  EXPECT_NEAR(moved("b1"), 1e-5, 1e-7);
}

// Trains one fixture in one go and the other, equal to it, from its checkpoint after 30 steps; they must end alike to the last bit.
// Returns the history of the first.
TrainingHistory TrainWholeAndResumed(Fixture& whole, Fixture& resumed) {
  Checkpoint middle;
  TrainingHooks hooks;
  hooks.on_checkpoint = [&](const Checkpoint& checkpoint, int64_t step) {
    if (step == 30) middle = *ParseCheckpoint(SerializeCheckpoint(checkpoint));
  };
  const auto history = TrainingLoop(*whole.model, whole.task, BatchOf).Run(hooks);
  EXPECT_TRUE(history.ok()) << history.status();
  TrainingLoop loop(*resumed.model, resumed.task, BatchOf);
  EXPECT_TRUE(loop.Restore(middle).ok()) << loop.Restore(middle);
  const auto rest = loop.Run({});
  EXPECT_TRUE(rest.ok()) << rest.status();
  if (!history.ok() || !rest.ok()) return {};
  EXPECT_EQ(rest->steps.size(), 60u);
  EXPECT_EQ(rest->steps.back().loss, history->steps.back().loss);
  const at::Tensor x = at::randn({9, 6});
  EXPECT_TRUE(at::equal(whole.Run(x), resumed.Run(x)));
  return *history;
}

TEST(TrainingLoopTest, ResumedTrainingIsTheSameToTheLastBit) {
  for (const auto method : {v1::PACT_TWO_SIDED, v1::MOVING_AVERAGE_ABS_MAX}) {
    Fixture whole(method), resumed(method);
    TrainWholeAndResumed(whole, resumed);
  }
}

TEST(TrainingLoopTest, RangesOfWeightsAreLearnedByChannelAndResumeToTheLastBit) {
  Fixture whole(v1::LSQ, 60, v1::CHANNEL_LSQ), resumed(v1::LSQ, 60, v1::CHANNEL_LSQ);
  const TrainingHistory history = TrainWholeAndResumed(whole, resumed);
  ASSERT_EQ(history.alpha_names, (std::vector<std::string>{"r", "x", "w1/range", "w2/range"}));
  const at::Tensor ranges = *whole.model->Find("w1")->learned()[0].tensor;
  EXPECT_EQ(ranges.numel(), 8);
  EXPECT_GT((ranges - ranges[0]).abs().max().item<double>(), 1e-3);
  EXPECT_NEAR(history.alphas.back().values[2], ranges.mean().item<double>(), 1e-6);
  EXPECT_TRUE(at::equal(ranges, *resumed.model->Find("w1")->learned()[0].tensor));
}

TEST(TrainingLoopTest, OneBadBatchRollsBackHalvesTheRateAndGoesOn) {
  Fixture fixture;
  bool bad_came = false;
  TrainingLoop loop(*fixture.model, fixture.task, [&](int64_t step) {
    auto batch = BatchOf(step);
    if (step == 25 && !bad_came) {
      bad_came = true;
      batch->inputs[0][0][0] = std::numeric_limits<float>::quiet_NaN();
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

// One bad batch makes each training go back: to the step that both know, not to that of the checkpoint.
TEST(TrainingLoopTest, WhenCheckpointsAreDueChangesNothingAndAnyOfThemResumesToTheLastBit) {
  const auto batches = [] {
    return [bad_came = false](int64_t step) mutable {
      auto batch = BatchOf(step);
      if (step == 36 && !std::exchange(bad_came, true)) batch->inputs[0].fill_(std::numeric_limits<float>::quiet_NaN());
      return batch;
    };
  };
  const at::Tensor x = at::randn({9, 6});
  Fixture plain, due;
  const auto expected = TrainingLoop(*plain.model, plain.task, batches()).Run({});
  ASSERT_TRUE(expected.ok()) << expected.status();
  ASSERT_EQ(expected->rollbacks, 1);
  std::map<int64_t, Checkpoint> written;
  TrainingHooks hooks;
  hooks.on_checkpoint = [&](const Checkpoint& checkpoint, int64_t step) {
    written.try_emplace(step, *ParseCheckpoint(SerializeCheckpoint(checkpoint)));
  };
  hooks.checkpoint_due = [asked = 0]() mutable { return ++asked % 7 == 0; };
  ASSERT_TRUE(TrainingLoop(*due.model, due.task, batches()).Run(hooks).ok());
  EXPECT_TRUE(at::equal(plain.Run(x), due.Run(x)));
  // Nine of ten steps are asked about; steps 31 to 36 twice.
  std::vector<int64_t> steps;
  for (const auto& [step, checkpoint] : written) steps.push_back(step);
  EXPECT_EQ(steps, (std::vector<int64_t>{7, 10, 15, 20, 23, 30, 31, 32, 39, 40, 47, 50, 55}));
  for (const int64_t step : {7, 23, 30, 31, 39, 47}) {
    Fixture resumed;
    TrainingLoop loop(*resumed.model, resumed.task, batches());
    ASSERT_TRUE(loop.Restore(written.at(step)).ok()) << step;
    const auto history = loop.Run({});
    ASSERT_TRUE(history.ok()) << history.status();
    EXPECT_EQ(history->rollbacks, 1) << step;
    if (step < 36) {
      EXPECT_EQ(history->warnings, expected->warnings) << step;
    }
    EXPECT_TRUE(at::equal(plain.Run(x), resumed.Run(x))) << step;
  }
}

TEST(TrainingLoopTest, OneThatIsEndedGoesOnFromWhereItWas) {
  const at::Tensor x = at::randn({9, 6});
  Fixture plain, ended, resumed;
  ASSERT_TRUE(TrainingLoop(*plain.model, plain.task, BatchOf).Run({}).ok());
  std::map<int64_t, Checkpoint> written;
  bool stop = false;
  TrainingHooks hooks;
  hooks.on_step = [&](const StepRecord& record) {
    stop = record.step == 33;
    return absl::OkStatus();
  };
  hooks.on_checkpoint = [&](const Checkpoint& checkpoint, int64_t step) { written.try_emplace(step, checkpoint); };
  hooks.checkpoint_due = [&] { return stop; };
  hooks.may_go_on = [&] { return stop ? absl::CancelledError("ended on request") : absl::OkStatus(); };
  EXPECT_TRUE(absl::IsCancelled(TrainingLoop(*ended.model, ended.task, BatchOf).Run(hooks).status()));
  ASSERT_TRUE(written.contains(33));
  EXPECT_EQ(written.rbegin()->first, 33);
  TrainingLoop loop(*resumed.model, resumed.task, BatchOf);
  ASSERT_TRUE(loop.Restore(written.at(33)).ok());
  ASSERT_TRUE(loop.Run({}).ok());
  EXPECT_TRUE(at::equal(plain.Run(x), resumed.Run(x)));
}

TEST(TrainingLoopTest, EndlessDivergenceIsAnErrorThatSaysWhatToDo) {
  Fixture fixture;
  TrainingLoop loop(*fixture.model, fixture.task, [](int64_t step) {
    auto batch = BatchOf(step);
    if (step >= 12) batch->inputs[0].fill_(std::numeric_limits<float>::quiet_NaN());
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

// Accuracies by step, as a hook; the model is not looked at.
TrainingHooks Accuracies(std::map<int64_t, double> by_step) {
  TrainingHooks hooks;
  hooks.evaluate = [by_step = std::move(by_step)](int64_t step) -> absl::StatusOr<double> {
    return by_step.contains(step) ? by_step.at(step) : 0.0;
  };
  return hooks;
}

// What the model gives after some steps of the same training.
at::Tensor AfterSteps(int64_t steps, const at::Tensor& x, double ema_decay = 0) {
  Fixture fixture;
  fixture.task.config.set_ema_decay(ema_decay);
  TrainingHooks hooks;
  hooks.end_reason = [&, made = int64_t{0}]() mutable { return ++made == steps ? "enough" : ""; };
  EXPECT_TRUE(TrainingLoop(*fixture.model, fixture.task, BatchOf).Run(hooks).ok());
  return fixture.Run(x);
}

TEST(TrainingLoopTest, TheBestEvaluatedModelIsKeptAndOfEqualOnesTheLast) {
  const at::Tensor x = at::randn({9, 6});
  Fixture best, last;
  best.task.config.set_evaluate_every(10);
  best.task.config.set_keep(v1::TrainingConfig::BEST);
  last.task.config.set_evaluate_every(10);
  last.task.config.set_keep(v1::TrainingConfig::LAST);
  const TrainingHooks hooks = Accuracies({{20, 0.9}, {40, 0.9}, {50, 0.8}, {60, 0.7}});
  const auto history = TrainingLoop(*best.model, best.task, BatchOf).Run(hooks);
  ASSERT_TRUE(history.ok()) << history.status();
  EXPECT_EQ(history->kept_step, 40);
  EXPECT_EQ(history->evaluations.size(), 6u);
  EXPECT_EQ(TrainingLoop(*last.model, last.task, BatchOf).Run(hooks)->kept_step, 60);
  EXPECT_TRUE(at::equal(best.Run(x), AfterSteps(40, x)));
  EXPECT_TRUE(at::equal(last.Run(x), AfterSteps(60, x)));
  EXPECT_FALSE(at::equal(best.Run(x), last.Run(x)));
}

TEST(TrainingLoopTest, TrainingEndsAtAnAccuracyThatIsEnough) {
  Fixture fixture;
  fixture.task.config.set_evaluate_every(10);
  fixture.task.enough_metric = 0.85;
  const auto history = TrainingLoop(*fixture.model, fixture.task, BatchOf).Run(Accuracies({{10, 0.8}, {30, 0.86}}));
  ASSERT_TRUE(history.ok()) << history.status();
  EXPECT_EQ(history->steps.size(), 30u);
  EXPECT_EQ(history->kept_step, 30);
  EXPECT_NE(history->ended_early.find("0.85"), std::string::npos) << history->ended_early;
}

TEST(TrainingLoopTest, ATrainingThatIsCutShortLeavesTheBestEvaluatedUnlessTheLastIsAskedFor) {
  for (const auto keep : {v1::TrainingConfig::KEEP_UNSPECIFIED, v1::TrainingConfig::BEST, v1::TrainingConfig::LAST}) {
    Fixture fixture;
    fixture.task.config.set_evaluate_every(10);
    fixture.task.config.set_keep(keep);
    TrainingHooks hooks = Accuracies({{10, 0.8}, {13, 0.7}});
    hooks.end_reason = [made = 0]() mutable { return ++made == 13 ? "the owner came home" : ""; };
    const auto history = TrainingLoop(*fixture.model, fixture.task, BatchOf).Run(hooks);
    ASSERT_TRUE(history.ok()) << history.status();
    EXPECT_EQ(history->ended_early, "the owner came home after 13 steps");
    EXPECT_EQ(history->steps.size(), 13u);
    EXPECT_EQ(history->evaluations.back().step, 13);
    EXPECT_EQ(history->kept_step, keep == v1::TrainingConfig::LAST ? 13 : 10);
  }
}

TEST(TrainingLoopTest, WithoutAWordOnWhatToKeepAWholeTrainingLeavesTheLast) {
  Fixture fixture;
  fixture.task.config.set_evaluate_every(20);
  const auto history = TrainingLoop(*fixture.model, fixture.task, BatchOf).Run(Accuracies({{20, 0.9}, {40, 0.5}, {60, 0.6}}));
  ASSERT_TRUE(history.ok()) << history.status();
  EXPECT_EQ(history->kept_step, 60);
}

TEST(TrainingLoopTest, AveragedWeightsAreEvaluatedAndLeftInTheModel) {
  Fixture fixture;
  fixture.task.config.set_ema_decay(0.9);
  std::vector<at::Tensor> seen;
  TrainingHooks hooks;
  std::vector<at::Tensor> live;
  hooks.on_step = [&](const StepRecord&) {
    live.push_back(fixture.model->parameters().at("w2").detach().to(at::kDouble).clone());
    return absl::OkStatus();
  };
  hooks.evaluate = [&](int64_t) -> absl::StatusOr<double> {
    seen.push_back(fixture.model->parameters().at("w2").detach().clone());
    return 0.5;
  };
  const at::Tensor start = fixture.model->parameters().at("w2").detach().to(at::kDouble).clone();
  ASSERT_TRUE(TrainingLoop(*fixture.model, fixture.task, BatchOf).Run(hooks).ok());
  at::Tensor average = start;
  for (size_t t = 1; t <= live.size(); ++t) {
    const double decay = std::min(0.9, (1.0 + static_cast<double>(t)) / (10.0 + static_cast<double>(t)));
    average = average * decay + live[t - 1] * (1 - decay);
  }
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_TRUE(at::allclose(seen[0].to(at::kDouble), average, 1e-5, 1e-6));
  EXPECT_TRUE(at::equal(seen[0], fixture.model->parameters().at("w2")));
  EXPECT_FALSE(at::allclose(seen[0].to(at::kDouble), live.back(), 1e-5, 1e-6));
}

TEST(TrainingLoopTest, AveragesAndTheBestSurviveAResume) {
  const TrainingHooks accuracies = Accuracies({{20, 0.9}, {40, 0.5}, {60, 0.6}});
  const at::Tensor x = at::randn({9, 6});
  for (const auto keep : {v1::TrainingConfig::BEST, v1::TrainingConfig::LAST}) {
    Fixture whole, resumed;
    for (Fixture* fixture : {&whole, &resumed}) {
      fixture->task.config.set_ema_decay(0.95);
      fixture->task.config.set_evaluate_every(20);
      fixture->task.config.set_keep(keep);
    }
    Checkpoint middle;
    TrainingHooks hooks = accuracies;
    hooks.on_checkpoint = [&](const Checkpoint& checkpoint, int64_t step) {
      if (step == 30) middle = *ParseCheckpoint(SerializeCheckpoint(checkpoint));
    };
    ASSERT_TRUE(TrainingLoop(*whole.model, whole.task, BatchOf).Run(hooks).ok());
    TrainingLoop loop(*resumed.model, resumed.task, BatchOf);
    ASSERT_TRUE(loop.Restore(middle).ok()) << loop.Restore(middle);
    const auto history = loop.Run(accuracies);
    ASSERT_TRUE(history.ok()) << history.status();
    EXPECT_EQ(history->kept_step, keep == v1::TrainingConfig::BEST ? 20 : 60);
    EXPECT_EQ(history->quantizers.size(), 6u);
    EXPECT_TRUE(at::equal(whole.Run(x), resumed.Run(x)));
  }
}

TEST(TrainingLoopTest, ExplodingLossGoesBackToBeforeAndHalvesTheRate) {
  Fixture fixture(v1::PACT_TWO_SIDED, 150);
  fixture.task.config.set_task_loss(v1::TrainingConfig::MSE);
  // For so many steps from step 100 on, again after each way back, the targets are far off.
  int64_t bad = 30;
  TrainingLoop loop(*fixture.model, fixture.task, [&](int64_t step) {
    auto batch = BatchOf(step);
    batch->targets["logits"] = batch->inputs[0].slice(1, 0, 3) * 0.5;
    if (step >= 100 && bad-- > 0) batch->targets["logits"] += 100;
    return batch;
  });
  const auto history = loop.Run({});
  ASSERT_TRUE(history.ok()) << history.status();
  EXPECT_EQ(history->rollbacks, 3);
  ASSERT_EQ(history->warnings.size(), 3u);
  EXPECT_NE(history->warnings[0].find("loss exploded at step 108"), std::string::npos) << history->warnings[0];
  EXPECT_NE(history->warnings[0].find("went back to step 100"), std::string::npos) << history->warnings[0];
  EXPECT_NE(history->warnings[0].find("0.5 of the learning rate"), std::string::npos) << history->warnings[0];
  EXPECT_EQ(history->steps.size(), 150u);
}

TEST(TrainingLoopTest, ARangeThatRunsAwayIsPutBackAndHeld) {
  Fixture fixture;
  bool ran_away = false;
  TrainingHooks hooks;
  hooks.on_step = [&](const StepRecord& record) {
    // Between two checkpoints, and not again after the way back.
    if (record.step == 34 && !std::exchange(ran_away, true)) fixture.model->Find("r")->learned()[0].tensor->detach().fill_(1e6);
    return absl::OkStatus();
  };
  const auto history = TrainingLoop(*fixture.model, fixture.task, BatchOf).Run(hooks);
  ASSERT_TRUE(history.ok()) << history.status();
  EXPECT_EQ(history->rollbacks, 1);
  ASSERT_EQ(history->warnings.size(), 1u);
  EXPECT_NE(history->warnings[0].find("range of r ran away"), std::string::npos) << history->warnings[0];
  EXPECT_NE(history->warnings[0].find("went back to step 30"), std::string::npos) << history->warnings[0];
  ASSERT_EQ(history->alphas[30].step, 30);
  EXPECT_EQ(history->alphas.back().values[0], history->alphas[30].values[0]);
  EXPECT_NE(history->alphas.back().values[1], history->alphas[30].values[1]);
}

TEST(TrainingLoopTest, RangesThatDieArePutBackAndHeld) {
  Fixture fixture;
  // A penalty that outweighs everything: alpha * (1 - rate * l2) is below 0 in one step.
  fixture.task.alpha.set_optimizer(v1::TrainingConfig::SGD);
  fixture.task.alpha.set_momentum(0);
  fixture.task.alpha.set_l2(20);
  const auto history = TrainingLoop(*fixture.model, fixture.task, BatchOf).Run({});
  ASSERT_TRUE(history.ok()) << history.status();
  EXPECT_EQ(history->rollbacks, 2);
  ASSERT_EQ(history->warnings.size(), 2u);
  for (const std::string& warning : history->warnings) EXPECT_NE(warning.find("died"), std::string::npos) << warning;
  for (const double alpha : history->alphas.back().values) EXPECT_GT(alpha, 0.01);
}

TEST(TrainingLoopTest, RegressionLearnsItsTargets) {
  for (const auto kind : {v1::TrainingConfig::MSE, v1::TrainingConfig::L1}) {
    Fixture fixture(v1::PACT_TWO_SIDED, 200);
    fixture.task.config.set_task_loss(kind);
    const auto history = TrainingLoop(*fixture.model, fixture.task, [](int64_t step) {
                           auto batch = BatchOf(step);
                           batch->targets["logits"] = batch->inputs[0].slice(1, 0, 3) * 0.5;
                           return batch;
                         }).Run({});
    ASSERT_TRUE(history.ok()) << history.status();
    EXPECT_LT(history->steps.back().loss, 0.3 * history->steps.front().loss);
  }
}

TEST(TrainingLoopTest, QuantizersAreRecordedAsTheStepSawThem) {
  Fixture fixture;
  fixture.task.config.set_record_every(60);
  fixture.task.config.set_clip_gradient_norm(0);
  at::Tensor x, alpha, weight_gradient;
  TrainingLoop loop(*fixture.model, fixture.task, [&](int64_t step) {
    auto batch = BatchOf(step);
    x = batch->inputs[0].clone();
    alpha = fixture.model->Find("x")->learned()[0].tensor->detach().clone();
    return batch;
  });
  TrainingHooks hooks;
  hooks.on_step = [&](const StepRecord&) {
    weight_gradient = fixture.model->parameters().at("w1").grad().clone();
    return absl::OkStatus();
  };
  const auto history = loop.Run(hooks);
  ASSERT_TRUE(history.ok()) << history.status();
  ASSERT_EQ(history->quantizers.size(), 1u);
  const QuantizerRecord& record = history->quantizers[0];
  const auto index = [&](const std::string& name) {
    return static_cast<size_t>(std::find(history->quantizer_names.begin(), history->quantizer_names.end(), name) -
                               history->quantizer_names.begin());
  };
  EXPECT_EQ(record.step, 60);
  EXPECT_NEAR(record.scales[index("x")], alpha.item<float>() / 127, 1e-7);
  EXPECT_NEAR(record.clipped_shares[index("x")], x.abs().gt(alpha).to(at::kDouble).mean().item<double>(), 1e-9);
  EXPECT_GT(record.clipped_shares[index("x")], 0);
  EXPECT_GT(record.gradient_norms[index("x")], 0);
  EXPECT_EQ(record.clipped_shares[index("w1")], 0);
  EXPECT_NEAR(record.gradient_norms[index("w1")], weight_gradient.norm().item<double>(), 1e-6);
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

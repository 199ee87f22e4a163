#include "quant/training/distillation.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "config/config_rules.h"
#include "config/config_text.h"
#include "tests/quant/make_graph.h"

namespace pactory::quant {
namespace {

DistillationTarget Target(Divergence divergence, double weight = 1) {
  return {.name = "t", .teacher = "t", .student = "t", .reader = {}, .divergence = divergence, .weight = weight};
}

at::Tensor LossOf(DistillationTarget target, const at::Tensor& student, const at::Tensor& teacher, double temperature = 1) {
  const auto loss = DistillationLoss({std::move(target)}, temperature, {student}, {teacher});
  EXPECT_TRUE(loss.ok()) << loss.status();
  return *loss;
}

v1::TrainingConfig Training(const std::string& yaml) {
  auto config = ParseConfig(yaml);
  EXPECT_TRUE(config.ok()) << config.status();
  FillDefaults(*config);
  return config->training();
}

std::vector<DistillationTarget> TargetsOf(const Graph& graph, const std::string& yaml = "{}") {
  auto targets = ChooseTargets(graph, Training(yaml));
  EXPECT_TRUE(targets.ok()) << targets.status();
  return targets.ok() ? *targets : std::vector<DistillationTarget>();
}

Graph WithOutputs(Graph graph, const std::vector<ValueInfo>& outputs) {
  graph.outputs = outputs;
  return graph;
}

TEST(DistillationTest, SoftmaxDivergenceByHandAndZeroForTheTeacherItself) {
  const at::Tensor teacher = at::tensor({std::log(0.75), std::log(0.25)}).reshape({1, 2});
  const at::Tensor student = at::zeros({1, 2}, at::kDouble);
  const double expected = 0.75 * std::log(0.75 / 0.5) + 0.25 * std::log(0.25 / 0.5);
  EXPECT_NEAR(LossOf(Target(Divergence::kSoftmax), student, teacher).item<double>(), expected, 1e-12);
  EXPECT_NEAR(LossOf(Target(Divergence::kSoftmax), teacher, teacher, 3).item<double>(), 0, 1e-12);
}

TEST(DistillationTest, SoftmaxGradientIsTheDifferenceOfProbabilitiesAlongItsAxis) {
  for (double t : {1.0, 4.0}) {
    // 3 samples x 5 classes x 4 positions: the mean is over 12.
    at::Tensor student = at::randn({3, 5, 4}, at::kDouble).requires_grad_(true);
    const at::Tensor teacher = at::randn({3, 5, 4}, at::kDouble);
    DistillationTarget target = Target(Divergence::kSoftmax);
    target.axis = 1;
    LossOf(target, student, teacher, t).backward();
    const at::Tensor expected = (at::softmax(student.detach() / t, 1) - at::softmax(teacher / t, 1)) * t / 12;
    EXPECT_TRUE(at::allclose(student.grad(), expected)) << t;
  }
}

TEST(DistillationTest, SoftmaxBeforeOpset13RunsOverAllLaterAxes) {
  at::Tensor student = at::randn({3, 2, 4}, at::kDouble).requires_grad_(true);
  const at::Tensor teacher = at::randn({3, 2, 4}, at::kDouble);
  DistillationTarget target = Target(Divergence::kSoftmax);
  target.axis = 1;
  target.joins_axes = true;
  LossOf(target, student, teacher).backward();
  const auto probabilities = [](const at::Tensor& x) { return at::softmax(x.detach().reshape({3, 8}), 1).reshape({3, 2, 4}); };
  EXPECT_TRUE(at::allclose(student.grad(), (probabilities(student) - probabilities(teacher)) / 3));
}

TEST(DistillationTest, SigmoidDivergenceByHandWithItsGradient) {
  // p = 0.8 against q = 0.5, and two equal elements.
  at::Tensor student = at::tensor({0.0, 2.0}).requires_grad_(true);
  const at::Tensor teacher = at::tensor({std::log(4.0), 2.0});
  const at::Tensor loss = LossOf(Target(Divergence::kSigmoid), student, teacher);
  EXPECT_NEAR(loss.item<double>(), (0.8 * std::log(0.8 / 0.5) + 0.2 * std::log(0.2 / 0.5)) / 2, 1e-6);
  loss.backward();
  EXPECT_NEAR(student.grad()[0].item<double>(), (0.5 - 0.8) / 2, 1e-6);
  EXPECT_NEAR(student.grad()[1].item<double>(), 0, 1e-7);
}

TEST(DistillationTest, SaturatedSigmoidsStayFinite) {
  at::Tensor student = at::tensor({-200.0, 200.0}).requires_grad_(true);
  const at::Tensor loss = LossOf(Target(Divergence::kSigmoid), student, at::tensor({200.0, -200.0}));
  EXPECT_NEAR(loss.item<double>(), 200, 1e-3);
  loss.backward();
  EXPECT_TRUE(at::isfinite(student.grad()).all().item<bool>());
}

TEST(DistillationTest, SquaredErrorIsInUnitsOfTheTeachersVariance) {
  const at::Tensor teacher = at::tensor({1.0, 3.0}, at::kDouble);
  const at::Tensor student = at::tensor({2.0, 3.0}, at::kDouble);
  EXPECT_NEAR(LossOf(Target(Divergence::kSquaredError), student, teacher).item<double>(), 0.5, 1e-5);
  EXPECT_NEAR(LossOf(Target(Divergence::kSquaredError), student * 100, teacher * 100).item<double>(), 0.5, 1e-5);
  // No variance: the size of the values says what is large.
  EXPECT_TRUE(std::isfinite(LossOf(Target(Divergence::kSquaredError), student, at::full({2}, 3.0, at::kDouble)).item<double>()));
}

TEST(DistillationTest, LossIsTheWeightedSum) {
  const at::Tensor teacher = at::tensor({1.0, 3.0}, at::kDouble), student = at::tensor({2.0, 3.0}, at::kDouble);
  const double one = LossOf(Target(Divergence::kSquaredError), student, teacher).item<double>();
  const double other = LossOf(Target(Divergence::kSigmoid), student, teacher).item<double>();
  const auto sum = DistillationLoss({Target(Divergence::kSquaredError, 2), Target(Divergence::kSigmoid, 0.5)}, 1,
                                    {student, student}, {teacher, teacher});
  ASSERT_TRUE(sum.ok()) << sum.status();
  EXPECT_NEAR(sum->item<double>(), 2 * one + 0.5 * other, 1e-12);
}

TEST(DistillationTest, TensorsOfTwoShapesAreNamed) {
  const auto loss = DistillationLoss({Target(Divergence::kSquaredError)}, 1, {at::ones({2})}, {at::ones({3})});
  EXPECT_EQ(loss.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(loss.status().message().find("name=t"), std::string::npos) << loss.status();
}

TEST(DistillationTest, SequenceThatEndsInSoftmaxComparesItsLogitsOverTheClasses) {
  const Graph graph = GraphOf({-1, 4, 6}, {NodeOf("MatMul", {"x", "w"}, "z"), NodeOf("Softmax", {"z"}, "p", {{"axis", int64_t{2}}}),
                                           NodeOf("Identity", {"p"}, "y")},
                              {{"w", at::ones({6, 5})}});
  const auto targets = TargetsOf(graph);
  ASSERT_EQ(targets.size(), 1u);
  EXPECT_EQ(targets[0].divergence, Divergence::kSoftmax);
  EXPECT_EQ(targets[0].teacher, "z");
  EXPECT_EQ(targets[0].axis, 2);
  EXPECT_FALSE(targets[0].joins_axes);
}

// A detector: a map behind a Sigmoid, and an output joined of boxes and scores.
Graph Detector() {
  return WithOutputs(GraphOf({-1, 4}, {NodeOf("Relu", {"x"}, "f"), NodeOf("Neg", {"f"}, "m"), NodeOf("Sigmoid", {"m"}, "s"),
                                       NodeOf("Unsqueeze", {"s", "axes"}, "map"), NodeOf("Exp", {"f"}, "boxes"),
                                       NodeOf("Sigmoid", {"f"}, "scores"), NodeOf("Concat", {"boxes", "scores"}, "found", {{"axis", int64_t{1}}}),
                                       NodeOf("ArgMax", {"f"}, "class")},
                             {{"axes", at::tensor({int64_t{1}})}}),
                     {{.name = "map", .dims = {-1, 1, 4}}, {.name = "found", .dims = {-1, 8}}, {.name = "class", .type = at::kLong, .dims = {-1, 1}}});
}

TEST(DistillationTest, EveryFloatOutputIsDistilledByTheOpThatWritesIt) {
  const auto targets = TargetsOf(Detector());
  ASSERT_EQ(targets.size(), 3u);
  EXPECT_EQ(targets[0].divergence, Divergence::kSigmoid);
  EXPECT_EQ(targets[0].teacher, "m");
  EXPECT_EQ(targets[1].divergence, Divergence::kSquaredError);
  EXPECT_EQ(targets[1].teacher, "boxes");
  EXPECT_EQ(targets[1].weight, 0.5);
  EXPECT_EQ(targets[2].divergence, Divergence::kSigmoid);
  EXPECT_EQ(targets[2].teacher, "f");
}

TEST(DistillationTest, LogitsWithoutSoftmaxAreToldFromOtherOutputs) {
  const auto divergence = [](std::vector<int64_t> dims, const char* op) {
    Graph graph = WithOutputs(GraphOf({-1, 6}, {NodeOf(op, {"x", "w"}, "y")}, {{"w", at::ones({6, 5})}}), {{.name = "y", .dims = std::move(dims)}});
    return TargetsOf(graph)[0].divergence;
  };
  EXPECT_EQ(divergence({-1, 5}, "Gemm"), Divergence::kSoftmax);
  EXPECT_EQ(divergence({-1, 1}, "Gemm"), Divergence::kSquaredError);
  EXPECT_EQ(divergence({-1, 9, 5}, "MatMul"), Divergence::kSoftmax);
  EXPECT_EQ(divergence({-1, 9, 5}, "Mul"), Divergence::kSquaredError);
  EXPECT_EQ(divergence({-1, 5, 8, 8}, "Conv"), Divergence::kSquaredError);
}

TEST(DistillationTest, EntriesOverrideLeaveOutAndAdd) {
  const auto targets = TargetsOf(Detector(), R"(training: {distillation_targets: [
      {name: map, divergence: SQUARED_ERROR, weight: 3}, {name: "foun*", weight: 0}, {name: f_node, weight: 0.1}]})");
  ASSERT_EQ(targets.size(), 2u);
  EXPECT_EQ(targets[0].teacher, "map");
  EXPECT_EQ(targets[0].divergence, Divergence::kSquaredError);
  EXPECT_EQ(targets[0].weight, 3);
  EXPECT_EQ(targets[1].teacher, "f");
  EXPECT_EQ(targets[1].divergence, Divergence::kSquaredError);
  EXPECT_EQ(targets[1].weight, 0.1);
}

TEST(DistillationTest, EntriesThatMatchNothingAndNothingLeftAreErrors) {
  const auto misspelt = ChooseTargets(Detector(), Training("training: {distillation_targets: [{name: map}, {name: mop}]}"));
  EXPECT_EQ(FieldOf(misspelt.status()), "training.distillation_targets[1].name") << misspelt.status();
  const auto nothing = ChooseTargets(Detector(), Training(R"(training: {distillation_targets: [{name: "*", weight: 0}]})"));
  EXPECT_EQ(FieldOf(nothing.status()), "training.distillation_targets") << nothing.status();
}

TEST(DistillationTest, StudentsLogitsAreWhatItsSoftmaxReads) {
  const Graph graph = GraphOf({-1, 4}, {NodeOf("Neg", {"x"}, "z"), NodeOf("Softmax", {"z"}, "y")});
  auto targets = TargetsOf(graph);
  Graph quantized = graph;
  Node quantizer = NodeOf("FakeQuantize", {"z"}, "z_q");
  quantizer.domain = "pactory";
  quantized.nodes = {graph.nodes[0], quantizer, NodeOf("Softmax", {"z_q"}, "y")};
  FindStudentValues(quantized, targets);
  EXPECT_EQ(targets[0].teacher, "z");
  EXPECT_EQ(targets[0].student, "z_q");
}

}  // namespace
}  // namespace pactory::quant

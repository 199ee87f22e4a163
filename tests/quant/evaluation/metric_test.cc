#include "quant/evaluation/metric.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "quant/evaluation/output_noise.h"
#include "quant/evaluation/region_rows.h"
#include "tests/quant/make_graph.h"

namespace pactory::quant {
namespace {

using v1::EvaluationConfig;

Metric MetricOf(EvaluationConfig::Metric metric, double threshold = 0.3) {
  EvaluationConfig config;
  config.set_metric(metric);
  config.set_map_threshold(threshold);
  return Metric(config);
}

// Outputs whose largest class at each step is the one given.
at::Tensor Steps(const std::vector<std::vector<int64_t>>& lines, int64_t classes) {
  at::Tensor outputs = at::zeros({static_cast<int64_t>(lines.size()), static_cast<int64_t>(lines[0].size()), classes});
  for (size_t n = 0; n < lines.size(); ++n) {
    for (size_t t = 0; t < lines[n].size(); ++t) outputs[n][t][lines[n][t]] = 1;
  }
  return outputs;
}

TEST(MetricTest, CtcReadingCollapsesRepeatsAndDropsBlanks) {
  // Graves et al. 2006: B(a-ab-) = B(-aa--abb) = aab.
  const at::Tensor readings = ReadCtc(Steps({{1, 0, 1, 2, 0, 0, 0, 0}, {0, 1, 1, 0, 0, 1, 2, 2}, {0, 0, 0, 0, 0, 0, 0, 0}}, 3));
  const at::Tensor expected = at::tensor({1, 1, 2, -1, -1, -1, -1, -1, 1, 1, 2, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1},
                                         at::kLong).reshape({3, 8});
  EXPECT_TRUE(at::equal(readings, expected)) << readings;
}

TEST(MetricTest, CtcReadingOfNanIsNoLabel) {
  at::Tensor outputs = Steps({{1, 2}}, 3);
  outputs[0][1][0] = std::nanf("");
  EXPECT_TRUE(at::equal(ReadCtc(outputs), at::tensor({1, -2}, at::kLong).reshape({1, 2})));
}

TEST(MetricTest, SequencesAreComparedWholeHoweverFarTheyAreFilledUp) {
  const Metric metric = MetricOf(EvaluationConfig::CTC_EXACT);
  EXPECT_TRUE(metric.by_labels());
  const auto readings = metric.Answers(Steps({{1, 0, 1, 2}, {1, 1, 1, 2}, {0, 2, 2, 0}}, 3));
  ASSERT_TRUE(readings.ok()) << readings.status();
  const at::Tensor labels = at::tensor({1, 1, 2, -1, -1, 1, 1, 2, -1, -1, 2, -1, -1, -1, -1}, at::kLong).reshape({3, 5});
  const auto accuracy = metric.Compare(*readings, labels);
  ASSERT_TRUE(accuracy.ok()) << accuracy.status();
  EXPECT_EQ(accuracy->right, 2);
  EXPECT_EQ(accuracy->total, 3);
  EXPECT_EQ(accuracy->unit, Accuracy::Unit::kSamples);
  const auto equal = metric.EqualAnswers(*readings, labels);
  ASSERT_TRUE(equal.ok()) << equal.status();
  EXPECT_TRUE(at::equal(*equal, at::tensor({1, 0, 1}).to(at::kBool))) << *equal;
}

TEST(MetricTest, MapsOverlapByWhatIsSetInBothOfWhatIsSetInEither) {
  const Metric metric = MetricOf(EvaluationConfig::IOU, 0.5);
  EXPECT_FALSE(metric.by_labels());
  const auto a = metric.Answers(at::tensor({0.9f, 0.6f, 0.5f, 0.1f}).reshape({1, 1, 2, 2}));
  const auto b = metric.Answers(at::tensor({0.8f, 0.2f, 0.7f, std::nanf("")}).reshape({1, 1, 2, 2}));
  ASSERT_TRUE(a.ok() && b.ok());
  const auto overlap = metric.Compare(*a, *b);
  ASSERT_TRUE(overlap.ok());
  // Set: {0, 1} and {0, 2}.
  EXPECT_EQ(overlap->right, 1);
  EXPECT_EQ(overlap->total, 3);
  EXPECT_EQ(overlap->unit, Accuracy::Unit::kValues);
  const at::Tensor nothing = at::zeros({1, 1, 2, 2}, at::kBool);
  EXPECT_EQ(metric.Compare(nothing, nothing)->share(), 1);
}

TEST(MetricTest, CharactersAreMeasuredByEdits) {
  const Metric metric = MetricOf(EvaluationConfig::CTC_CHARACTERS);
  EXPECT_TRUE(metric.by_labels() && metric.counts_samples());
  const auto readings = metric.Answers(Steps({{1, 0, 1, 2}, {1, 1, 2, 2}, {2, 1, 2, 1}}, 3));
  ASSERT_TRUE(readings.ok()) << readings.status();
  // 1 1 2 for 1 1 2; 1 2 for 1 1 2; 2 1 2 1 for 2.
  const at::Tensor labels = at::tensor({1, 1, 2, 1, 1, 2, 2, -1, -1}, at::kLong).reshape({3, 3});
  const auto accuracy = metric.Compare(*readings, labels);
  ASSERT_TRUE(accuracy.ok()) << accuracy.status();
  EXPECT_EQ(accuracy->right, 7 - (0 + 1 + 3));
  EXPECT_EQ(accuracy->total, 7);
  EXPECT_EQ(accuracy->unit, Accuracy::Unit::kCharacters);
  const auto scores = metric.Scores(*readings, labels);
  ASSERT_TRUE(scores.ok()) << scores.status();
  EXPECT_EQ(*scores, (std::vector<std::pair<std::string, double>>{{"character_error_rate", 4.0 / 7}, {"exact_lines", 1.0 / 3}}));
  EXPECT_EQ(metric.Agreement(*readings, *readings)->right, 3);
}

TEST(MetricTest, MapsAreComparedWithMasksWhateverAxesTheseHave) {
  const Metric metric = MetricOf(EvaluationConfig::MASK_IOU, 0.5);
  EXPECT_TRUE(metric.by_labels());
  const auto maps = metric.Answers(at::tensor({0.9f, 0.6f, 0.5f, 0.1f}).reshape({1, 1, 2, 2}));
  const auto overlap = metric.Compare(*maps, at::tensor({1, 0, 1, 0}).to(at::kBool).reshape({1, 2, 2}));
  ASSERT_TRUE(overlap.ok()) << overlap.status();
  EXPECT_EQ(overlap->right, 1);
  EXPECT_EQ(overlap->total, 3);
  EXPECT_FALSE(metric.Compare(*maps, at::zeros({1, 3}, at::kBool)).ok());
}

TEST(MetricTest, TextIsFoundInTheInputsPixels) {
  EvaluationConfig config;
  config.set_metric(EvaluationConfig::TEXT_HMEAN);
  config.set_map_threshold(0.3);
  config.mutable_text_regions()->set_box_threshold(0.5);
  config.mutable_text_regions()->set_min_size(1);
  config.mutable_text_regions()->set_max_regions(4);
  const Metric metric(config, {.height = 40, .width = 60});
  at::Tensor maps = at::zeros({2, 1, 20, 30});
  maps[0][0].slice(0, 5, 10).slice(1, 10, 21).fill_(0.9);
  const auto answers = metric.Answers(maps);
  ASSERT_TRUE(answers.ok()) << answers.status();
  EXPECT_EQ(answers->sizes(), at::IntArrayRef({2, 4, 11}));
  // Pixels 10 to 20 and 5 to 9, twice as large in the input; not grown.
  const at::Tensor expected = RegionRows({{{.corners = {20, 10, 40, 10, 40, 18, 20, 18}}}, {}});
  EXPECT_EQ(metric.Compare(*answers, expected)->share(), 1);
  EXPECT_EQ(metric.Compare(*answers, expected.flip(0))->share(), 0);
  EXPECT_EQ(metric.Scores(*answers, expected).value(), (std::vector<std::pair<std::string, double>>{{"precision", 1}, {"recall", 1}}));
  EXPECT_EQ(metric.Agreement(*answers, *answers)->right, 2);
  const at::Tensor nothing = *metric.Answers(at::full({1, 1, 8, 8}, std::nanf("")));
  EXPECT_EQ(metric.Agreement(nothing, nothing)->share(), 1);
  EXPECT_FALSE(metric.Answers(at::zeros({1, 2, 8, 8})).ok());
}

TEST(MetricTest, BoxesAgreeWhereClassAndPlaceDo) {
  EvaluationConfig config;
  config.set_metric(EvaluationConfig::COCO_MAP);
  config.mutable_boxes()->set_layout(v1::BoxConfig::CORNERS_SCORE_CLASS);
  config.mutable_boxes()->set_min_score(0.1);
  config.mutable_boxes()->set_max_boxes(3);
  config.mutable_boxes()->set_agreement_score(0.3);
  const Metric metric(config);
  const float kNan = std::nanf("");
  const auto answers = metric.Answers(at::tensor({0.f, 0.f, 10.f, 10.f, 0.9f, 1.f, 20.f, 20.f, 30.f, 30.f, 0.8f, 2.f,
                                                  20.f, kNan, 30.f, 30.f, 0.8f, 2.f, 0.f, 0.f, 0.f, 0.f, 0.f, -1.f}).reshape({1, 4, 6}));
  ASSERT_TRUE(answers.ok()) << answers.status();
  EXPECT_EQ(answers->sizes(), at::IntArrayRef({1, 3, 7}));
  const at::Tensor expected = RegionRows({{{.category = 1, .corners = {0, 0, 10, 0, 10, 10, 0, 10}},
                                           {.category = 3, .corners = {20, 20, 30, 30}}}});
  const auto precision = metric.Compare(*answers, expected);
  // Class 1 is found, class 3 is not; nobody asks for class 2.
  EXPECT_EQ(precision->share(), 0.5);
  EXPECT_EQ(precision->unit, Accuracy::Unit::kMillionths);
  EXPECT_EQ(metric.Agreement(*answers, *answers)->share(), 1);
  EXPECT_EQ(metric.Agreement(*answers, expected)->share(), 0.5);
  EXPECT_FALSE(metric.Answers(at::zeros({1, 4, 7})).ok());
  EXPECT_FALSE(metric.Answers(at::zeros({4, 6})).ok());
}

TEST(MetricTest, CategoriesThatNoClassStandsForAreRefused) {
  const std::vector<std::vector<Region>> samples = {{{.category = 90, .corners = {0, 0, 1, 0, 1, 1}}}};
  EXPECT_EQ(ExpectedRows(samples, {13, 90}).value()[0][0][1].item<float>(), 1);
  EXPECT_EQ(ExpectedRows(samples, {}).value()[0][0][1].item<float>(), 90);
  EXPECT_NE(ExpectedRows(samples, {13}).status().message().find("category_id=90"), std::string::npos);
}

TEST(MetricTest, OutputsOfAnotherRankAreRefused) {
  for (const auto metric : {EvaluationConfig::CTC_EXACT, EvaluationConfig::CTC_AGREEMENT, EvaluationConfig::TOP1}) {
    const auto answers = MetricOf(metric).Answers(at::zeros({2, 3, 4, 5}));
    EXPECT_EQ(answers.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(answers.status().message().find("AGREEMENT"), std::string::npos) << answers.status();
  }
}

TEST(MetricTest, DefaultGoesByLabelsThenByTheOutputsForm) {
  Graph line = GraphOf({-1, 3, 48, -1}, {NodeOf("Softmax", {"x"}, "y")});
  line.outputs[0].dims = {-1, -1, 97};
  Graph map = GraphOf({-1, 3, -1, -1}, {NodeOf("Sigmoid", {"x"}, "y")});
  Graph classes = GraphOf({-1, 3, 8, 8}, {NodeOf("Flatten", {"x"}, "y")});
  EXPECT_EQ(DefaultMetric(line, Reference::kNothing), EvaluationConfig::CTC_AGREEMENT);
  EXPECT_EQ(DefaultMetric(line, Reference::kSequences), EvaluationConfig::CTC_EXACT);
  EXPECT_EQ(DefaultMetric(map, Reference::kNothing), EvaluationConfig::IOU);
  EXPECT_EQ(DefaultMetric(classes, Reference::kNothing), EvaluationConfig::AGREEMENT);
  EXPECT_EQ(DefaultMetric(classes, Reference::kClasses), EvaluationConfig::TOP1);
}

TEST(OutputNoiseTest, SqnrIsThePowerOfTheSignalOverThatOfTheDeviation) {
  KeptOutputs exact, noisy;
  exact.Add(at::tensor({3.0f, 4.0f}).reshape({1, 2}));
  noisy.Add(at::tensor({3.0f, 4.5f}).reshape({1, 2}));
  // 25 / 0.25 = 100.
  EXPECT_NEAR(SqnrDb(exact, noisy).value(), 20, 1e-6);
  EXPECT_FALSE(SqnrDb(exact, exact).has_value());
  EXPECT_FALSE(SqnrDb(exact, KeptOutputs()).has_value());
}

TEST(OutputNoiseTest, ValuesThatAreNotFiniteAreNoiseWhereOneAloneHasThem) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  KeptOutputs exact, noisy, wrong;
  exact.Add(at::tensor({3.0f, 4.0f, -kInfinity, kNan}).reshape({1, 4}));
  noisy.Add(at::tensor({3.0f, 4.5f, -kInfinity, kNan}).reshape({1, 4}));
  wrong.Add(at::tensor({3.0f, kNan, -kInfinity, kNan}).reshape({1, 4}));
  EXPECT_NEAR(SqnrDb(exact, noisy).value(), 20, 1e-6);
  EXPECT_EQ(SqnrDb(exact, wrong).value(), -std::numeric_limits<double>::infinity());
}

TEST(OutputNoiseTest, OutputsAreKeptUpToABound) {
  KeptOutputs kept;
  const int64_t sample = KeptOutputs::kMaxBytes / 4 / 3;
  kept.Add(at::zeros({2, sample}));
  kept.Add(at::zeros({2, sample}));
  kept.Add(at::zeros({2, 1}));
  EXPECT_EQ(kept.values().size(0), 3);
  KeptOutputs large;
  large.Add(at::zeros({2, KeptOutputs::kMaxBytes / 2}));
  EXPECT_EQ(large.values().size(0), 1);
}

}  // namespace
}  // namespace pactory::quant

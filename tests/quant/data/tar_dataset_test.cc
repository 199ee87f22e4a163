#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "quant/data/dataset.h"
#include "tests/quant/data/tar_files.h"

namespace pactory::quant {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class TarDatasetTest : public testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<Dataset>> Open(const std::string& content, const v1::PreprocessConfig& config = {},
                                                std::vector<int64_t> dims = {-1, 3, 4, 6}) {
    path_ = testing::TempDir() + "/" + std::to_string(getpid()) + testing::UnitTest::GetInstance()->current_test_info()->name() + ".tar";
    std::ofstream(path_, std::ios::binary) << content;
    Graph graph;
    graph.inputs = {{.name = "input", .dims = std::move(dims)}};
    return OpenDataset(path_, config, graph);
  }

  std::string Problem(const Members& members, const v1::PreprocessConfig& config = {}) {
    const auto dataset = Open(Tar(members), config);
    EXPECT_EQ(dataset.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(dataset.status().message());
  }

  std::string path_;
};

TEST_F(TarDatasetTest, ReadsImagesAndClassesInAnyOrder) {
  const std::string long_name = "folder/" + std::string(150, 'n');
  const auto dataset = Open(Tar({{"b.cls", "1\n"},
                                 {"a.png", Image(4, 6, 255, 0, 51)},
                                 {"a.cls", "3"},
                                 {"b.png", Image(4, 6, 0, 102, 0)},
                                 {long_name + ".png", Image(8, 12, 51, 51, 51)},
                                 {long_name + ".cls", "0"},
                                 {"readme.txt", "x"}}));
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ((*dataset)->size(), 3);
  EXPECT_TRUE(at::equal((*dataset)->labels(), at::tensor({3, 1, 0}, at::kLong)));
  const auto batch = (*dataset)->Read({1, 0, 2});
  ASSERT_TRUE(batch.ok()) << batch.status();
  EXPECT_TRUE(at::equal(batch->y, at::tensor({1, 3, 0}, at::kLong)));
  // Red first, scaled by 1/255.
  EXPECT_TRUE(at::allclose(batch->inputs[0].amin({2, 3}),
                           at::tensor({0.0f, 0.4f, 0.0f, 1.0f, 0.0f, 0.2f, 0.2f, 0.2f, 0.2f}).reshape({3, 3}), 0,
                           1e-6));
  EXPECT_TRUE(at::equal(batch->inputs[0].amin({2, 3}), batch->inputs[0].amax({2, 3})));
}

TEST_F(TarDatasetTest, NamesBeyondAsciiAreSamplesToo) {
  const auto dataset = Open(
      Tar({{"卷/一.png", Image(4, 6, 0, 0, 0)}, {"卷/一.cls", "2"}, {"b.png", Image(4, 6, 0, 0, 0)}, {"b.cls", "1"}}));
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ((*dataset)->size(), 2);
  EXPECT_EQ((*dataset)->labels()[0].item<int64_t>(), 2);
}

TEST_F(TarDatasetTest, BlueComesFirstWhereAsked) {
  v1::PreprocessConfig config;
  config.set_channel_order(v1::PreprocessConfig::BGR);
  config.set_scale(1);
  const auto dataset = Open(Tar({{"a.png", Image(4, 6, 10, 20, 30)}}), config);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_FALSE((*dataset)->has_labels());
  EXPECT_TRUE(at::equal((*dataset)->Read({0})->inputs[0][0].amax({1, 2}), at::tensor({30.0f, 20.0f, 10.0f})));
}

TEST_F(TarDatasetTest, KeptRatiosArePaddedOnTheRightAfterNormalization) {
  v1::PreprocessConfig config;
  config.set_keep_ratio(true);
  config.set_scale(1);
  config.add_mean(7);
  // 8 x 4 pixels become 4 x 2 in an input of 4 x 6.
  const auto dataset = Open(Tar({{"a.png", Image(8, 4, 10, 20, 30)}}), config);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  const at::Tensor x = (*dataset)->Read({0})->inputs[0][0];
  EXPECT_TRUE(at::equal(x.narrow(2, 0, 2).amin({1, 2}), at::tensor({3.0f, 13.0f, 23.0f})));
  EXPECT_EQ(x.narrow(2, 2, 4).abs().max().item<float>(), 0);
}

TEST_F(TarDatasetTest, OneChannelModelsGetGrey) {
  v1::PreprocessConfig config;
  config.set_scale(1);
  const auto dataset = Open(Tar({{"a.png", Image(4, 6, 50, 50, 50)}}), config, {-1, 1, 4, 6});
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_TRUE(at::equal((*dataset)->Read({0})->inputs[0], at::full({1, 1, 4, 6}, 50.0f)));
}

TEST_F(TarDatasetTest, OpenDimensionsMustBeGiven) {
  const std::string content = Tar({{"a.png", Image(4, 6, 0, 0, 0)}});
  EXPECT_THAT(std::string(Open(content, {}, {-1, 3, -1, -1}).status().message()), HasSubstr("preprocess.height"));
  v1::PreprocessConfig config;
  config.set_height(5);
  config.set_width(9);
  EXPECT_EQ((*Open(content, config, {-1, 3, -1, -1}))->Read({0})->inputs[0].sizes(), at::IntArrayRef({1, 3, 5, 9}));
  EXPECT_THAT(std::string(Open(content, config).status().message()), HasSubstr("preprocess.height"));
}

TEST_F(TarDatasetTest, WhatIsWrongIsNamed) {
  const std::string png = Image(4, 6, 0, 0, 0);
  EXPECT_THAT(Problem({{"a.txt", "x"}}), AllOf(HasSubstr(path_), HasSubstr("images")));
  EXPECT_THAT(Problem({{"a.png", png}, {"a.cls", "cat"}}), HasSubstr("member=a.cls"));
  EXPECT_THAT(Problem({{"a.png", png}, {"a.cls", "1"}, {"b.cls", "1"}}), HasSubstr("key=b"));
  EXPECT_THAT(Problem({{"a.png", png}, {"a.cls", "1"}, {"b.png", png}}), HasSubstr("key=b"));
  EXPECT_THAT(Problem({{"a.png", png}, {"a.jpg", png}}), HasSubstr("one image"));
}

TEST_F(TarDatasetTest, AnImageThatCanNotBeDecodedIsNamedWhenItIsRead) {
  const auto dataset = Open(Tar({{"good.png", Image(4, 6, 0, 0, 0)}, {"bad.png", "no image"}, {"empty.png", ""}}));
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_TRUE((*dataset)->Read({0}).ok());
  EXPECT_THAT(std::string((*dataset)->Read({0, 1}).status().message()), HasSubstr("sample=bad"));
  EXPECT_THAT(std::string((*dataset)->Read({2}).status().message()), HasSubstr("sample=empty"));
}

TEST_F(TarDatasetTest, WhatIsNoArchiveIsRefused) {
  EXPECT_FALSE(Open("just some text, and not an archive").ok());
  EXPECT_FALSE(Open(std::string("\x1f\x8b\x08\0\0\0\0\0\0\x03", 10) + std::string(500, 'z')).ok());
  EXPECT_FALSE(Open("").ok());
  const std::string whole = Tar({{"a.png", Image(40, 60, 1, 2, 3)}, {"a.cls", "1"}});
  for (size_t length = 0; length < 1500; length += 7)
    EXPECT_FALSE(Open(whole.substr(0, length)).ok() && length < 1000) << length;
}

TEST_F(TarDatasetTest, FeedsOneInputAlone) {
  Open(Tar({{"a.png", Image(4, 6, 1, 2, 3)}, {"a.cls", "0"}})).IgnoreError();
  Graph graph;
  graph.inputs = {{.name = "image", .dims = {-1, 3, 4, 6}}, {.name = "features", .dims = {-1, 2}}};
  EXPECT_THAT(std::string(OpenDataset(path_, {}, graph).status().message()),
              AllOf(HasSubstr(path_), HasSubstr("must be an .npz with an array for each of the model's 2 inputs")));
}

}  // namespace
}  // namespace pactory::quant

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "base/error.h"
#include "quant/data/character_set.h"
#include "quant/data/dataset.h"
#include "tests/quant/data/tar_files.h"

namespace pactory::quant {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

// Lines of text, masks and regions beside images.
class TarPartsTest : public testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<Dataset>> Open(const Members& members, const v1::PreprocessConfig& config = {},
                                                const std::vector<std::string>& targets = {}) {
    path_ = testing::TempDir() + "/" + std::to_string(getpid()) + testing::UnitTest::GetInstance()->current_test_info()->name() + ".tar";
    std::ofstream(path_, std::ios::binary) << Tar(members);
    Graph graph;
    graph.inputs = {{.name = "input", .dims = {-1, 3, 4, 6}}};
    return OpenDataset(path_, config, graph, targets);
  }

  static v1::PreprocessConfig Characters(const std::string& characters) {
    v1::PreprocessConfig config;
    config.set_characters(characters);
    return config;
  }

  std::string Problem(const Members& members, const v1::PreprocessConfig& config = {}, const std::vector<std::string>& targets = {}) {
    const auto dataset = Open(members, config, targets);
    EXPECT_EQ(dataset.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(dataset.status().message());
  }

  std::string path_;
  const std::string image_ = Image(4, 6, 10, 20, 30);
};

TEST_F(TarPartsTest, LinesBecomeTheClassesOfTheirCharacters) {
  const auto dataset = Open({{"a.png", image_}, {"a.txt", "ba 中\r\n"}, {"b.txt", "中"}, {"b.png", image_}}, Characters("ab 中"));
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_TRUE((*dataset)->has_labels());
  EXPECT_FALSE((*dataset)->has_classes());
  EXPECT_TRUE(at::equal((*dataset)->labels(), at::tensor({2, 1, 3, 4, 4, -1, -1, -1}, at::kLong).reshape({2, 4})));
  EXPECT_TRUE(at::equal((*dataset)->Read({1})->y, at::tensor({4, -1, -1, -1}, at::kLong).reshape({1, 4})));
}

TEST_F(TarPartsTest, LinesOfOneCharacterAreSequencesToo) {
  const auto dataset = Open({{"a.png", image_}, {"a.txt", "b"}}, Characters("ab"));
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_FALSE((*dataset)->has_classes());
  EXPECT_TRUE(at::equal((*dataset)->labels(), at::tensor({2, -1}, at::kLong).reshape({1, 2})));
}

TEST_F(TarPartsTest, TextIsNotReadWithoutCharacters) {
  const auto dataset =
      Open({{"a.png", image_}, {"a.txt", "\xff"}, {"a.cls", "3"}, {"a.json", "no JSON"}, {"b.png", image_}, {"b.cls", "1"}});
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_TRUE(at::equal((*dataset)->labels(), at::tensor({3, 1}, at::kLong)));
}

TEST_F(TarPartsTest, BadLinesAreNamed) {
  const auto with = [&](const std::string& text) { return Problem({{"k.png", image_}, {"k.txt", text}}, Characters("ab")); };
  EXPECT_THAT(with("a\xff"), AllOf(HasSubstr(path_), HasSubstr("sample k"), HasSubstr("UTF-8")));
  EXPECT_THAT(with("\n"), HasSubstr("must have a character"));
  EXPECT_THAT(with("a\nb"), HasSubstr("one line"));
  EXPECT_THAT(with("a中"), AllOf(HasSubstr("U+4E2D"), HasSubstr("preprocess.characters")));
  EXPECT_THAT(Problem({{"a.png", image_}, {"a.txt", "a"}, {"b.png", image_}}, Characters("ab")),
              AllOf(HasSubstr(".txt"), HasSubstr("key=b")));
  EXPECT_THAT(Problem({{"a.png", image_}, {"a.txt", "a"}, {"a.txt", "b"}}, Characters("ab")), HasSubstr("member=a.txt"));
}

TEST(CharacterSetTest, CharactersAreEachOneClass) {
  EXPECT_EQ(FieldOf(CharacterSet::Create("").status()), "preprocess.characters");
  EXPECT_EQ(FieldOf(CharacterSet::Create("a\xc3").status()), "preprocess.characters");
  const absl::Status twice = CharacterSet::Create("aéé").status();
  EXPECT_EQ(FieldOf(twice), "preprocess.characters");
  EXPECT_THAT(std::string(twice.message()), AllOf(HasSubstr("U+00E9"), HasSubstr("class 2"), HasSubstr("class 3")));
  const auto set = CharacterSet::Create("aé😀");
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_THAT(set->Encode("😀a").value(), ElementsAre(3, 1));
  EXPECT_EQ(set->Decode({3, 2, 9, 1, -1, 1}), "😀é\xef\xbf\xbd" "a");
}

TEST_F(TarPartsTest, MasksGoWithTheirImagesAsTargets) {
  v1::PreprocessConfig config;
  config.set_keep_ratio(true);
  // 8 x 4 pixels become 4 x 2 of the input's 4 x 6.
  const Members members = {{"a.png", Image(8, 4, 1, 2, 3)}, {"a.mask.png", Image(8, 4, 255, 255, 255)}};
  const auto dataset = Open(members, config, {"map", "other"});
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ((*dataset)->targets(), (std::map<std::string, std::vector<int64_t>>{{"map", {1, 4, 6}}}));
  const at::Tensor mask = (*dataset)->Read({0})->targets.at("map");
  ASSERT_EQ(mask.sizes(), at::IntArrayRef({1, 1, 4, 6}));
  EXPECT_TRUE(at::equal(mask.narrow(3, 0, 2), at::ones({1, 1, 4, 2})));
  EXPECT_TRUE(at::equal(mask.narrow(3, 2, 4), at::zeros({1, 1, 4, 4})));
  EXPECT_TRUE((*Open(members, config))->targets().empty());
}

TEST_F(TarPartsTest, BadMasksAreNamed) {
  EXPECT_THAT(Problem({{"a.png", image_}, {"a.mask.png", image_}, {"b.png", image_}}), AllOf(HasSubstr(".mask.png"), HasSubstr("key=b")));
  EXPECT_THAT(Problem({{"a.png", image_}, {"b.mask.png", image_}}), HasSubstr("key=b"));
  const auto problem = [&](const std::string& mask) {
    return std::string((*Open({{"k.png", image_}, {"k.mask.png", mask}}, {}, {"map"}))->Read({0}).status().message());
  };
  EXPECT_THAT(problem("no image"), AllOf(HasSubstr("mask can't be decoded"), HasSubstr("sample=k")));
  EXPECT_THAT(problem(""), HasSubstr("mask can't be decoded"));
  EXPECT_THAT(problem(Image(4, 5, 0, 0, 0)), AllOf(HasSubstr("size of its image"), HasSubstr("mask=5x4"), HasSubstr("image=6x4")));
}

TEST_F(TarPartsTest, RegionsAreTakenAlongWhenImagesAreResized) {
  // 8 x 3 pixels become 4 x 6.
  const std::string json = R"({"annotations": [{"bbox": [1, 2, 1, 4], "category_id": 7, "iscrowd": 1, "area": 4},
                              {"points": [[0, 0], [3, 0], [3, 8]], "transcription": "###"}, {"points": [[0, 0], [3, 0], [3, 8]]}]})";
  const auto dataset = Open({{"a.png", Image(8, 3, 1, 2, 3)}, {"a.json", json}, {"b.png", image_}, {"b.json", "[]"}});
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  const auto regions = (*dataset)->ReadRegions();
  ASSERT_TRUE(regions.ok()) << regions.status();
  EXPECT_EQ(regions->height, 4);
  EXPECT_EQ(regions->width, 6);
  ASSERT_EQ(regions->samples.size(), 2u);
  ASSERT_EQ(regions->samples[0].size(), 3u);
  EXPECT_TRUE(regions->samples[1].empty());
  EXPECT_EQ(regions->samples[0][0].category, 7);
  EXPECT_TRUE(regions->samples[0][0].ignored && regions->samples[0][1].ignored && !regions->samples[0][2].ignored);
  EXPECT_THAT(regions->samples[0][0].corners, ElementsAre(2, 1, 4, 1, 4, 3, 2, 3));
  EXPECT_THAT(regions->samples[0][1].corners, ElementsAre(0, 0, 6, 0, 6, 4));
}

TEST_F(TarPartsTest, BadRegionsAreNamed) {
  const auto problem = [&](const std::string& json) {
    return std::string((*Open({{"k.png", image_}, {"k.json", json}}))->ReadRegions().status().message());
  };
  EXPECT_THAT(problem("[{"), AllOf(HasSubstr("sample k.json"), HasSubstr("must be JSON")));
  EXPECT_THAT(problem("7"), HasSubstr("array of objects"));
  EXPECT_THAT(problem(R"([{"bbox": [1, 2, 3, 4]}, 5])"), HasSubstr("object 1"));
  EXPECT_THAT(problem(R"([{"bbox": [1, 2, 3]}])"), HasSubstr("[left, top, width, height]"));
  EXPECT_THAT(problem(R"([{"bbox": [1, 2, -3, 4]}])"), HasSubstr("[left, top, width, height]"));
  EXPECT_THAT(problem(R"([{"bbox": [1, 2, 1e300, 4]}])"), HasSubstr("[left, top, width, height]"));
  EXPECT_THAT(problem(R"([{"bbox": [1, 2, "中", null]}])"), HasSubstr("\\u4e2d"));
  EXPECT_THAT(problem(R"([{"points": [[1, 2], [3, 4]]}])"), HasSubstr("pairs [x, y]"));
  EXPECT_THAT(problem(R"([{"points": [[1, 2], [3, 4], [5]]}])"), HasSubstr("pairs [x, y]"));
  EXPECT_THAT(problem(R"([{"bbox": [1, 2, 3, 4], "category_id": -1}])"), HasSubstr("category_id"));
  EXPECT_THAT(problem(R"([{"bbox": [1, 2, 3, 4], "iscrowd": "no"}])"), HasSubstr("iscrowd"));
  EXPECT_THAT(problem(R"([{"area": 5}])"), HasSubstr("`bbox` or `points`"));
  EXPECT_THAT(problem(std::string(100000, '[')), HasSubstr("must be JSON"));
  const auto missing = (*Open({{"a.png", image_}, {"a.json", "[]"}, {"b.png", image_}}))->ReadRegions();
  EXPECT_THAT(std::string(missing.status().message()), AllOf(HasSubstr(".json"), HasSubstr("key=b")));
}

TEST_F(TarPartsTest, SequencesMustFitTheSteps) {
  const auto dataset = Open({{"a.png", image_}, {"a.txt", "ab"}, {"b.png", image_}, {"b.txt", "aabb"}}, Characters("ab"));
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_TRUE(CheckSequencesFit(**dataset, 6, "p").ok());
  const absl::Status status = CheckSequencesFit(**dataset, 5, "p");
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("p: "), HasSubstr("index=1 needed steps=6 bad_labels=1")));
}

}  // namespace
}  // namespace pactory::quant

#include <ATen/ATen.h>
#include <archive.h>
#include <archive_entry.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "quant/data/data_order.h"
#include "quant/data/dataset.h"

namespace pactory::quant {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string Little(uint64_t value, int width) {
  std::string bytes;
  for (int index = 0; index < width; ++index) bytes.push_back(static_cast<char>(value >> (8 * index)));
  return bytes;
}

// An array as NumPy writes it.
std::string Npy(const std::string& descr, const std::string& shape, const std::string& data,
                const std::string& order = "False") {
  std::string header = absl::StrCat("{'descr': '", descr, "', 'fortran_order': ", order, ", 'shape': ", shape, ", }");
  header.append(63 - (10 + header.size()) % 64, ' ');
  header.push_back('\n');
  return absl::StrCat(std::string("\x93NUMPY\x01\x00", 8), Little(header.size(), 2), header, data);
}

enum class Packing { kStored, kDeflated };

// A zip archive of named members.
std::string Zip(const std::vector<std::pair<std::string, std::string>>& members, Packing packing = Packing::kStored) {
  std::string content(1 << 20, '\0');
  size_t used = 0;
  struct archive* writer = archive_write_new();
  archive_write_set_format_zip(writer);
  archive_write_set_options(writer, packing == Packing::kStored ? "zip:compression=store" : "zip:compression=deflate");
  // No padding of the last block, so that the archive ends where it ends.
  archive_write_set_bytes_in_last_block(writer, 1);
  archive_write_open_memory(writer, content.data(), content.size(), &used);
  for (const auto& [name, data] : members) {
    struct archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, name.c_str());
    archive_entry_set_size(entry, static_cast<la_int64_t>(data.size()));
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_write_header(writer, entry);
    archive_write_data(writer, data.data(), data.size());
    archive_entry_free(entry);
  }
  archive_write_free(writer);
  content.resize(used);
  return content;
}

template <typename T>
std::string Bytes(const std::vector<T>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

class NpzDatasetTest : public testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<Dataset>> Open(const std::string& content, const v1::PreprocessConfig& config = {},
                                                std::vector<int64_t> dims = {-1, 2, 2}) {
    path_ = testing::TempDir() + "/" + std::to_string(getpid()) + testing::UnitTest::GetInstance()->current_test_info()->name() + ".npz";
    std::ofstream(path_, std::ios::binary) << content;
    Graph graph;
    graph.inputs = {{.name = "input", .dims = std::move(dims)}};
    return OpenDataset(path_, config, graph);
  }

  std::string Problem(const std::string& content, const v1::PreprocessConfig& config = {}) {
    const auto dataset = Open(content, config);
    EXPECT_EQ(dataset.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(dataset.status().message());
  }

  std::string path_;
};

// Three samples of shape 2 x 2: 0, 1, 2, ... 11.
std::string Bytes12() {
  std::vector<uint8_t> values(12);
  std::iota(values.begin(), values.end(), 0);
  return Bytes(values);
}

TEST_F(NpzDatasetTest, ReadsStoredAndDeflatedArraysAlike) {
  for (const Packing packing : {Packing::kStored, Packing::kDeflated}) {
    const auto dataset = Open(
        Zip({{"x.npy", Npy("|u1", "(3, 2, 2)", Bytes12())}, {"y.npy", Npy("<i8", "(3,)", Bytes<int64_t>({1, 0, 4}))}},
            packing));
    ASSERT_TRUE(dataset.ok()) << dataset.status();
    EXPECT_EQ((*dataset)->size(), 3);
    EXPECT_TRUE((*dataset)->has_labels());
    EXPECT_EQ((*dataset)->classes_seen(), 5);
    const auto batch = (*dataset)->Read({2, 0});
    ASSERT_TRUE(batch.ok());
    EXPECT_TRUE(at::equal(batch->y, at::tensor({4, 1}, at::kLong)));
    // Bytes are scaled by 1/255 unless the config says otherwise.
    const at::Tensor expected = at::tensor({8, 9, 10, 11, 0, 1, 2, 3}).to(at::kFloat).reshape({2, 2, 2}) / 255;
    EXPECT_TRUE(at::allclose(batch->inputs[0], expected, 1e-6, 1e-8));
  }
}

TEST_F(NpzDatasetTest, FloatsOfEveryWidthStayAsTheyAre) {
  const std::string f4 = Bytes<float>({1.5f, -2, 3, 4});
  const std::string f8 = Bytes<double>({1.5, -2, 3, 4});
  // 1.5, -2, 3, 4 in half precision.
  const std::string f2 = Bytes<uint16_t>({0x3e00, 0xc000, 0x4200, 0x4400});
  for (const auto& [descr, data] :
       std::vector<std::pair<std::string, std::string>>{{"<f4", f4}, {"<f8", f8}, {"<f2", f2}}) {
    const auto dataset = Open(Zip({{"x.npy", Npy(descr, "(1, 2, 2)", data)}}));
    ASSERT_TRUE(dataset.ok()) << dataset.status();
    EXPECT_FALSE((*dataset)->has_labels());
    const auto batch = (*dataset)->Read({0});
    ASSERT_TRUE(batch.ok());
    EXPECT_TRUE(at::equal(batch->inputs[0], at::tensor({1.5f, -2.0f, 3.0f, 4.0f}).reshape({1, 2, 2})));
    EXPECT_FALSE(batch->y.defined());
  }
}

TEST_F(NpzDatasetTest, ScaleMeanAndDeviationAreAppliedByChannel) {
  v1::PreprocessConfig config;
  config.set_scale(0.5);
  for (const double mean : {1.0, 2.0}) config.add_mean(mean);
  config.add_std(4);
  const auto dataset = Open(Zip({{"x.npy", Npy("|u1", "(1, 2, 2)", Bytes<uint8_t>({2, 4, 6, 8}))}}), config);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  // (x * 0.5 - mean) / 4 with mean 1 for the first channel, 2 for the second.
  EXPECT_TRUE(
      at::allclose((*dataset)->Read({0})->inputs[0], at::tensor({0.0f, 0.25f, 0.25f, 0.5f}).reshape({1, 2, 2}), 0, 1e-7));
}

TEST_F(NpzDatasetTest, EachInputIsReadInItsOwnType) {
  Graph graph;
  graph.inputs = {{.name = "ids", .type = at::kLong, .dims = {-1, 2}},
                  {.name = "image", .dims = {-1, 1, 1, 2}},
                  {.name = "mask", .type = at::kBool, .dims = {-1, 2}},
                  {.name = "features", .type = at::kDouble, .dims = {-1}}};
  const std::string archive = Zip({{"mask.npy", Npy("|b1", "(2, 2)", Bytes<uint8_t>({1, 0, 0, 1}))},
                                   {"features.npy", Npy("<f4", "(2,)", Bytes<float>({0.5f, -3}))},
                                   {"image.npy", Npy("|u1", "(2, 1, 1, 2)", Bytes<uint8_t>({0, 51, 102, 255}))},
                                   {"ids.npy", Npy("<i8", "(2, 2)", Bytes<int64_t>({int64_t{1} << 40, 2, 3, 4}))},
                                   {"y.npy", Npy("<i8", "(2,)", Bytes<int64_t>({7, 8}))}});
  Open(archive).IgnoreError();
  v1::PreprocessConfig config;
  config.add_mean(0.2);
  const auto dataset = OpenDataset(path_, config, graph);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ((*dataset)->size(), 2);
  const auto batch = (*dataset)->Read({1, 0});
  ASSERT_TRUE(batch.ok()) << batch.status();
  ASSERT_EQ(batch->inputs.size(), 4);
  EXPECT_TRUE(at::equal(batch->inputs[0], at::tensor({int64_t{3}, int64_t{4}, int64_t{1} << 40, int64_t{2}}, at::kLong).reshape({2, 2})));
  // The image alone is scaled, by 1/255, and loses the mean.
  EXPECT_TRUE(at::allclose(batch->inputs[1], at::tensor({0.2f, 0.8f, -0.2f, 0.0f}).reshape({2, 1, 1, 2}), 0, 1e-6));
  EXPECT_EQ(batch->inputs[1].scalar_type(), at::kFloat);
  EXPECT_TRUE(at::equal(batch->inputs[2], at::tensor({0, 1, 1, 0}).to(at::kBool).reshape({2, 2})));
  EXPECT_TRUE(at::equal(batch->inputs[3], at::tensor({-3.0, 0.5}, at::kDouble)));
  EXPECT_TRUE(at::equal(batch->y, at::tensor({8, 7}, at::kLong)));
}

TEST_F(NpzDatasetTest, WhatDoesNotFitOneOfSeveralInputsIsNamed) {
  Graph graph;
  graph.inputs = {{.name = "a", .dims = {-1, 2}}, {.name = "b", .dims = {-1, 2}}};
  const auto problem = [&](const std::string& content) {
    Open(content).IgnoreError();
    return std::string(OpenDataset(path_, {}, graph).status().message());
  };
  const std::string a = Npy("<f4", "(2, 2)", Bytes<float>({1, 2, 3, 4}));
  const std::string nan = Npy("<f4", "(2, 2)", Bytes<float>({1, 2, 3, std::numeric_limits<float>::quiet_NaN()}));
  EXPECT_EQ(problem(Zip({{"a.npy", a}, {"b.npy", a}})), "");
  EXPECT_THAT(problem(Zip({{"a.npy", a}})), AllOf(HasSubstr(path_), HasSubstr("named b")));
  EXPECT_THAT(problem(Zip({{"a.npy", a}, {"b.npy", nan}})), AllOf(HasSubstr("array b must be finite"), HasSubstr("index=1")));
  EXPECT_THAT(problem(Zip({{"a.npy", a}, {"b.npy", a}, {"c.npy", a}})), HasSubstr("array c is none of the model's inputs"));
  EXPECT_THAT(problem(Zip({{"a.npy", a}, {"b.npy", Npy("<f4", "(1, 2)", Bytes<float>({1, 2}))}})), HasSubstr("b=[1,2]"));
  graph.inputs.push_back({.name = "rate", .type = at::kLong});
  EXPECT_THAT(problem(Zip({{"a.npy", a}, {"b.npy", a}, {"rate.npy", a}})), HasSubstr("input rate must have the batch"));
}

TEST_F(NpzDatasetTest, NamesTheFileAndTheSampleThatIsNotFinite) {
  std::vector<float> values(5000 * 4, 1.0f);
  values[4321 * 4 + 2] = std::numeric_limits<float>::quiet_NaN();
  const std::string problem = Problem(Zip({{"x.npy", Npy("<f4", "(5000, 2, 2)", Bytes(values))}}));
  EXPECT_THAT(problem, AllOf(HasSubstr(path_), HasSubstr("index=4321")));
  values[4321 * 4 + 2] = -std::numeric_limits<float>::infinity();
  EXPECT_THAT(Problem(Zip({{"x.npy", Npy("<f4", "(5000, 2, 2)", Bytes(values))}})), HasSubstr("index=4321"));
}

TEST_F(NpzDatasetTest, RefusesShapesThatDoNotFitTheModel) {
  EXPECT_THAT(Problem(Zip({{"x.npy", Npy("|u1", "(3, 4)", Bytes12())}})),
              AllOf(HasSubstr("x=[3,4]"), HasSubstr("input=[-1,2,2]")));
  EXPECT_THAT(Problem(Zip({{"x.npy", Npy("|u1", "(0, 2, 2)", "")}})), HasSubstr("at least one sample"));
  const auto channels_last = Open(Zip({{"x.npy", Npy("|u1", "(1, 2, 2, 3)", Bytes12())}}), {}, {-1, 3, 2, 2});
  EXPECT_THAT(std::string(channels_last.status().message()), HasSubstr("transpose"));
}

TEST_F(NpzDatasetTest, RefusesLabelsThatDoNotFitTheSamples) {
  const std::string x = Npy("|u1", "(3, 2, 2)", Bytes12());
  EXPECT_THAT(Problem(Zip({{"x.npy", x}, {"y.npy", Npy("<i8", "(2,)", Bytes<int64_t>({1, 0}))}})), HasSubstr("y=[2]"));
  EXPECT_THAT(Problem(Zip({{"x.npy", x}, {"y.npy", Npy("<f4", "(3,)", Bytes<float>({1, 0, 1}))}})),
              HasSubstr("integers"));
}

TEST_F(NpzDatasetTest, LabelsOutsideTheModelsClassesAreNamed) {
  const auto dataset = Open(
      Zip({{"x.npy", Npy("|u1", "(3, 2, 2)", Bytes12())}, {"y.npy", Npy("|u1", "(3,)", Bytes<uint8_t>({1, 7, 2}))}}));
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_TRUE(CheckLabels(**dataset, 8, path_).ok());
  EXPECT_FALSE(CheckLabels(**dataset, 7, path_).ok());
  EXPECT_THAT(std::string(CheckLabels(**dataset, 3, path_).message()),
              AllOf(HasSubstr(path_), HasSubstr("index=1 label=7")));
}

TEST_F(NpzDatasetTest, SequencesOfLabelsAreFilledUpAtTheirEnd) {
  const std::string x = Npy("|u1", "(3, 2, 2)", Bytes12());
  const auto with = [&](const std::vector<int16_t>& y) {
    return Zip({{"x.npy", x}, {"y.npy", Npy("<i2", "(3, 2)", Bytes<int16_t>(y))}});
  };
  const auto dataset = Open(with({5, 2, 7, -1, -1, -1}));
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_TRUE((*dataset)->has_labels());
  EXPECT_FALSE((*dataset)->has_classes());
  EXPECT_TRUE(at::equal((*dataset)->labels(), at::tensor({5, 2, 7, -1, -1, -1}, at::kLong).reshape({3, 2})));
  const auto batch = (*dataset)->Read({1});
  ASSERT_TRUE(batch.ok()) << batch.status();
  EXPECT_TRUE(at::equal(batch->y, at::tensor({7, -1}, at::kLong).reshape({1, 2})));
  EXPECT_TRUE(CheckLabels(**dataset, 8, path_).ok());
  EXPECT_THAT(std::string(CheckLabels(**dataset, 7, path_).message()), HasSubstr("index=1 label=7"));
  EXPECT_THAT(Problem(with({5, 2, -1, 7, 1, 1})), HasSubstr("index=1"));
  // The blank is no label.
  const auto blank = Open(with({5, 2, 7, 1, 0, -1}));
  ASSERT_TRUE(blank.ok()) << blank.status();
  EXPECT_THAT(std::string(CheckLabels(**blank, 8, path_).message()), HasSubstr("index=2 label=0"));
}

TEST_F(NpzDatasetTest, RefusesArraysItCanNotRead) {
  EXPECT_THAT(Problem(Zip({{"images.npy", Npy("|u1", "(3, 2, 2)", Bytes12())}})),
              AllOf(HasSubstr("named input or x"), HasSubstr("arrays=images")));
  EXPECT_THAT(Problem(Zip({{"x.npy", Npy(">f4", "(1, 2, 2)", Bytes<float>({1, 2, 3, 4}))}})),
              HasSubstr("little endian"));
  EXPECT_THAT(Problem(Zip({{"x.npy", Npy("|O", "(3, 2, 2)", Bytes12())}})), HasSubstr("numbers"));
  EXPECT_THAT(Problem(Zip({{"x.npy", Npy("|u1", "(3, 2, 2)", Bytes12(), "True")}})), HasSubstr("C order"));
  EXPECT_THAT(Problem(Zip({{"x.npy", Npy("|u1", "(9, 2, 2)", Bytes12())}})), HasSubstr("fit its shape"));
  EXPECT_THAT(Problem(Zip({{"x.npy", Npy("|u1", "(4611686018427387904, 4611686018427387904, 4)", Bytes12())}})),
              HasSubstr("shape"));
  EXPECT_THAT(Problem(Zip({{"x.npy", "no array"}})), HasSubstr(".npy"));
}

TEST_F(NpzDatasetTest, EveryTruncationAndDamageIsAnsweredWithAStatus) {
  for (const Packing packing : {Packing::kStored, Packing::kDeflated}) {
    const std::string whole = Zip({{"x.npy", Npy("|u1", "(3, 2, 2)", Bytes12())}}, packing);
    for (size_t length = 0; length < whole.size(); ++length) EXPECT_FALSE(Open(whole.substr(0, length)).ok()) << length;
    for (size_t at = 0; at < whole.size(); ++at) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(~damaged[at]);
      const auto dataset = Open(damaged);
      if (!dataset.ok()) continue;
      EXPECT_TRUE((*dataset)->Read({0}).ok());
    }
  }
}

TEST_F(NpzDatasetTest, IndicesOutsideTheSetAreRefused) {
  const auto dataset = Open(Zip({{"x.npy", Npy("|u1", "(3, 2, 2)", Bytes12())}}));
  EXPECT_FALSE((*dataset)->Read({3}).ok());
  EXPECT_FALSE((*dataset)->Read({-1}).ok());
}

TEST_F(NpzDatasetTest, WrongPreprocessingNamesTheField) {
  const std::string archive = Zip({{"x.npy", Npy("|u1", "(3, 2, 2)", Bytes12())}});
  v1::PreprocessConfig config;
  for (int index = 0; index < 3; ++index) config.add_mean(0);
  EXPECT_THAT(Problem(archive, config), HasSubstr("preprocess.mean"));
  config.clear_mean();
  config.add_std(0);
  EXPECT_THAT(Problem(archive, config), HasSubstr("preprocess.std"));
}

TEST(DataOrderTest, IsAPermutationThatOnlySeedAndEpochDecide) {
  const std::vector<int64_t> order = ShuffledOrder(1000, 1, 0);
  EXPECT_EQ(order, ShuffledOrder(1000, 1, 0));
  EXPECT_NE(order, ShuffledOrder(1000, 1, 1));
  EXPECT_NE(order, ShuffledOrder(1000, 2, 0));
  EXPECT_NE(ShuffledOrder(1000, 1, 2), ShuffledOrder(1000, 2, 1));
  std::vector<int64_t> sorted = order;
  std::sort(sorted.begin(), sorted.end());
  for (int64_t index = 0; index < 1000; ++index) ASSERT_EQ(sorted[index], index);
  EXPECT_TRUE(ShuffledOrder(0, 1, 0).empty());
}

TEST(DataOrderTest, EveryPlaceIsReachedAboutEquallyOften) {
  // 600 shuffles of 6: each element should stand first about 100 times; 6 standard deviations are 55.
  std::vector<int64_t> first(6, 0);
  for (int64_t epoch = 0; epoch < 600; ++epoch) ++first[ShuffledOrder(6, 9, epoch)[0]];
  for (const int64_t count : first) EXPECT_NEAR(static_cast<double>(count), 100, 55);
}

}  // namespace
}  // namespace pactory::quant

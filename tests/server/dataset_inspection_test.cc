#include "server/dataset_inspection.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "gtest/gtest.h"
#include "tests/server/sample_files.h"

namespace pactory {
namespace {

absl::StatusOr<ArrayList> Inspect(v1::Dataset::Format format, const std::string& file) {
  return InspectDataset(format, static_cast<int64_t>(file.size()),
                        [&](int64_t offset, int64_t size) -> absl::StatusOr<std::string> {
                          if (offset < 0 || size < 0 || offset + size > static_cast<int64_t>(file.size()))
                            return absl::OutOfRangeError("beyond the end");
                          return file.substr(offset, size);
                        });
}

void ExpectBad(const absl::StatusOr<ArrayList>& facts, const std::string& says) {
  EXPECT_TRUE(absl::IsInvalidArgument(facts.status())) << says << ": " << facts.status();
  EXPECT_EQ(FieldOf(facts.status()), "dataset.blob");
  EXPECT_EQ(ReasonOf(facts.status()), "BAD_DATA");
  EXPECT_NE(std::string(facts.status().message()).find(says), std::string::npos) << facts.status();
}

std::string Text(const ArrayList& arrays) {
  return absl::StrJoin(arrays, " ", [](std::string* text, const v1::TensorInfo& array) {
    absl::StrAppend(text, array.name(), ":", array.element_type(), "[", absl::StrJoin(array.dims(), ","), "]");
  });
}

TEST(NpzInspectionTest, TellsEveryStoredOrDeflatedArray) {
  for (const ZipMethod method : {ZipMethod::kStored, ZipMethod::kDeflated}) {
    const auto arrays = Inspect(v1::Dataset::NPZ, Zip({{"image.npy", Npy("|u1", {9, 3, 48, 192}, 1)},
                                                       {"in/ids:0.npy", Npy("<i8", {9, 7}, 8)},
                                                       {"mask.npy", Npy("|b1", {9, 7}, 1)},
                                                       {"features.npy", Npy("<f8", {9}, 8)},
                                                       {"y.npy", Npy("<i4", {9}, 4)}},
                                                      method));
    ASSERT_TRUE(arrays.ok()) << arrays.status();
    EXPECT_EQ(Text(*arrays), "image:uint8[9,3,48,192] in/ids:0:int64[9,7] mask:bool[9,7] features:double[9] y:int32[9]");
  }
}

TEST(NpzInspectionTest, WhatIsWrongIsNamed) {
  const auto npz = [](const std::string& x, const std::string& y) {
    return Inspect(v1::Dataset::NPZ, Zip({{"x.npy", x}, {"y.npy", y}}));
  };
  const std::string x = Npy("<f4", {4, 2}, 4);
  const std::string y = Npy("<i8", {4}, 8);
  ASSERT_TRUE(npz(x, y).ok()) << npz(x, y).status();
  ExpectBad(Inspect(v1::Dataset::NPZ, ""), "empty");
  ExpectBad(Inspect(v1::Dataset::NPZ, Zip({{"y.npy", y}})), "an array for each of the model's inputs");
  ExpectBad(npz(Npy("<f4", {0, 2}, 4), Npy("<i8", {0}, 8)), "at least one sample");
  ExpectBad(npz(x, Npy("<i8", {5}, 8)), "x=[4,2] y=[5]");
  EXPECT_TRUE(npz(x, Npy("<i8", {4, 1}, 8)).ok());
  EXPECT_TRUE(npz(x, Npy("<i8", {4, 7}, 8)).ok());
  ExpectBad(npz(x, Npy("<i8", {4, 7, 1}, 8)), "y=[4,7,1]");
  ExpectBad(npz(x, Npy("<i8", {5, 7}, 8)), "y=[5,7]");
  ExpectBad(npz(x, Npy("<f4", {5, 3}, 4)), "y=[5,3]");
  ExpectBad(Inspect(v1::Dataset::NPZ, Zip({{"a.npy", x}, {"b.npy", Npy("<i8", {5, 2}, 8)}})), "a=[4,2] b=[5,2]");
  ExpectBad(npz(Npy("<U5", {4, 2}, 20), y), "dtype=<U5");
  ExpectBad(npz(Npy(">f4", {4, 2}, 4), y), "dtype=>f4");
  ExpectBad(npz(x.substr(0, x.size() - 1), y), "fit its shape");
  ExpectBad(npz("nonsense", y), "NumPy's mark");
  ExpectBad(Inspect(v1::Dataset::NPZ, Tar({{"a.png", "x"}, {"a.cls", "1"}})), "npz");
}

TEST(NpzInspectionTest, ArchivesOfMoreArraysThanAnyModelTakesAreNotRead) {
  std::vector<ContainedFile> files(257, {"x.npy", Npy("<f4", {1}, 4)});
  ExpectBad(Inspect(v1::Dataset::NPZ, Zip(files)), "at most 256 arrays");
}

TEST(NpzInspectionTest, EveryTruncationIsRefused) {
  const std::string file = SmallNpz(2);
  for (size_t size = 0; size < file.size(); ++size) {
    const auto facts = Inspect(v1::Dataset::NPZ, file.substr(0, size));
    EXPECT_TRUE(absl::IsInvalidArgument(facts.status())) << size << ": " << facts.status();
  }
}

TEST(NpzInspectionTest, OneFlippedByteNeverCrashes) {
  for (const ZipMethod method : {ZipMethod::kStored, ZipMethod::kDeflated}) {
    const std::string file = Zip({{"x.npy", Npy("<f4", {3, 2}, 4)}, {"y.npy", Npy("<i8", {3}, 8)}}, method);
    for (size_t at = 0; at < file.size(); ++at) {
      for (const int flip : {1, 0x80, 0xff}) {
        std::string damaged = file;
        damaged[at] = static_cast<char>(damaged[at] ^ flip);
        const auto facts = Inspect(v1::Dataset::NPZ, damaged);
        EXPECT_TRUE(facts.ok() || absl::IsInvalidArgument(facts.status())) << at << ": " << facts.status();
      }
    }
  }
}

TEST(TarInspectionTest, OneSampleOfImageAndClassIsEnough) {
  const auto facts = Inspect(
      v1::Dataset::TAR, Tar({{"README", "x"}, {"train/0001.PNG", std::string(3000, 'p')}, {"train/0001.cls", "3"}}));
  ASSERT_TRUE(facts.ok()) << facts.status();
  EXPECT_TRUE(facts->empty());
}

TEST(TarInspectionTest, TextRegionsAndMasksTellOfAnImageToo) {
  for (const char* suffix : {"txt", "json", "mask.png"}) {
    EXPECT_TRUE(Inspect(v1::Dataset::TAR, Tar({{"a.jpg", "x"}, {absl::StrCat("a.", suffix), "y"}})).ok()) << suffix;
  }
  ExpectBad(Inspect(v1::Dataset::TAR, Tar({{"a.mask.png", "x"}, {"a.cls", "1"}})), "none of its first 1 keys");
}

TEST(TarInspectionTest, WhatIsWrongIsNamed) {
  ExpectBad(Inspect(v1::Dataset::TAR, Tar({})), "samples of an image and its class");
  ExpectBad(Inspect(v1::Dataset::TAR, Tar({{"a.png", "x"}, {"b.cls", "1"}})), "first 2 keys");
  ExpectBad(Inspect(v1::Dataset::TAR, "\x1f\x8b" + std::string(2000, 'z')), "uncompressed tar");
  const std::string whole = Tar({{"a.png", std::string(5000, 'p')}, {"a.cls", "1"}});
  ExpectBad(Inspect(v1::Dataset::TAR, whole.substr(0, 2000)), "ends within a.png");
}

TEST(TarInspectionTest, OneFlippedByteNeverCrashes) {
  const std::string file = Tar({{"a.png", "image"}, {"a.cls", "1"}});
  for (size_t at = 0; at < file.size(); ++at) {
    std::string damaged = file;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x80);
    const auto facts = Inspect(v1::Dataset::TAR, damaged);
    EXPECT_TRUE(facts.ok() || absl::IsInvalidArgument(facts.status())) << at << ": " << facts.status();
  }
}

}  // namespace
}  // namespace pactory

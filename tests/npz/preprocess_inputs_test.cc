#include "npz/preprocess_inputs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace pactory {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

struct Input {
  std::string name;
  std::string type;
  int rank;
};

v1::Model ModelOf(const std::vector<Input>& inputs) {
  v1::Model model;
  for (const Input& input : inputs) {
    v1::TensorInfo& info = *model.add_inputs();
    info.set_name(input.name);
    info.set_element_type(input.type);
    for (int axis = 0; axis < input.rank; ++axis) info.add_dims(-1);
  }
  return model;
}

v1::PreprocessConfig Scaled(const std::vector<std::string>& inputs = {}) {
  v1::PreprocessConfig config;
  config.set_scale(0.5);
  for (const std::string& input : inputs) config.add_inputs(input);
  return config;
}

TEST(PreprocessInputsTest, TheOnlyInputIsMeantWhateverItsShape) {
  EXPECT_THAT(*PreprocessedInputs(Scaled(), ModelOf({{"features", "float", 2}})), ElementsAre("features"));
  EXPECT_THAT(*PreprocessedInputs({}, ModelOf({{"ids", "int64", 2}})), IsEmpty());
}

TEST(PreprocessInputsTest, OfSeveralInputsTheOnlyImageIsMeant) {
  const v1::Model model = ModelOf({{"features", "float", 2}, {"image", "float16", 4}, {"map", "int64", 4}});
  EXPECT_THAT(*PreprocessedInputs(Scaled(), model), ElementsAre("image"));
  EXPECT_THAT(*PreprocessedInputs(Scaled({"features", "image"}), model), ElementsAre("features", "image"));
}

TEST(PreprocessInputsTest, WhereSeveralCouldBeMeantTheyAreNamedOrNothingIsDone) {
  const v1::Model two = ModelOf({{"left", "float", 4}, {"right", "float", 4}});
  EXPECT_THAT(*PreprocessedInputs({}, two), IsEmpty());
  EXPECT_THAT(*PreprocessedInputs(Scaled({"left", "right"}), two), ElementsAre("left", "right"));
  for (const v1::Model& model : {two, ModelOf({{"left", "float", 2}, {"right", "float", 2}})}) {
    const auto chosen = PreprocessedInputs(Scaled(), model);
    EXPECT_EQ(FieldOf(chosen.status()), "preprocess.inputs");
    EXPECT_THAT(std::string(chosen.status().message()), HasSubstr("left, right"));
  }
}

TEST(PreprocessInputsTest, NamesMustBeInputsOfFloats) {
  const v1::Model model = ModelOf({{"image", "float", 4}, {"ids", "int64", 2}});
  for (const char* name : {"ids", "imag"}) {
    const auto chosen = PreprocessedInputs(Scaled({name}), model);
    EXPECT_EQ(FieldOf(chosen.status()), "preprocess.inputs");
    EXPECT_THAT(std::string(chosen.status().message()), HasSubstr(std::string("(image), not ") + name));
  }
}

v1::Model ModelOfShape(const std::vector<int64_t>& dims) {
  v1::Model model = ModelOf(std::vector<Input>{{"x", "float", 0}});
  model.mutable_inputs(0)->mutable_dims()->Assign(dims.begin(), dims.end());
  return model;
}

TEST(PreprocessInputsTest, AugmentationNeedsImages) {
  v1::PreprocessConfig config;
  EXPECT_TRUE(CheckAugmentedInputs(config, ModelOfShape({-1, 8})).ok());
  config.mutable_augmentation()->set_min_crop_area(1);
  EXPECT_TRUE(CheckAugmentedInputs(config, ModelOfShape({-1, 8})).ok());
  config.mutable_augmentation()->set_zoom(0.1);
  EXPECT_TRUE(CheckAugmentedInputs(config, ModelOfShape({-1, 1, 8, 8})).ok());
  EXPECT_TRUE(CheckAugmentedInputs(config, ModelOfShape({})).ok());
  for (const v1::Model& model : {ModelOfShape({-1, 8}), ModelOf(std::vector<Input>{{"ids", "int64", 4}}),
                                 ModelOf({{"left", "float", 4}, {"right", "float", 4}})}) {
    EXPECT_EQ(FieldOf(CheckAugmentedInputs(config, model)), "preprocess.augmentation");
  }
  config.add_inputs("left");
  EXPECT_TRUE(CheckAugmentedInputs(config, ModelOf({{"left", "float", 4}, {"right", "float", 4}})).ok());
}

TEST(PreprocessInputsTest, ColorsNeedThreeChannels) {
  v1::PreprocessConfig config;
  config.mutable_augmentation()->set_hue(0.1);
  for (const std::vector<int64_t>& dims : {std::vector<int64_t>{-1, 3, 8, 8}, {-1, -1, 8, 8}, {}}) {
    EXPECT_TRUE(CheckAugmentedInputs(config, ModelOfShape(dims)).ok());
  }
  EXPECT_EQ(FieldOf(CheckAugmentedInputs(config, ModelOfShape({-1, 1, 8, 8}))), "preprocess.augmentation.hue");
  config.mutable_augmentation()->set_saturation(0.1);
  EXPECT_EQ(FieldOf(CheckAugmentedInputs(config, ModelOfShape({-1, 1, 8, 8}))), "preprocess.augmentation.saturation");
}

}  // namespace
}  // namespace pactory

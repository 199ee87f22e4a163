#include "npz/dataset_layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "absl/strings/str_cat.h"

namespace pactory {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

// "name type dim dim ..." for each tensor.
ArrayList Tensors(const std::vector<std::string>& texts) {
  ArrayList tensors;
  for (const std::string& text : texts) {
    std::istringstream words(text);
    v1::TensorInfo& tensor = *tensors.Add();
    words >> *tensor.mutable_name() >> *tensor.mutable_element_type();
    for (int64_t dim; words >> dim;) tensor.add_dims(dim);
  }
  return tensors;
}

v1::Model ModelOf(const std::vector<std::string>& inputs, const std::vector<std::string>& outputs = {"scores float -1 4"}) {
  v1::Model model;
  *model.mutable_inputs() = Tensors(inputs);
  *model.mutable_outputs() = Tensors(outputs);
  return model;
}

std::string Problem(const v1::Model& model, const std::vector<std::string>& arrays, const std::set<std::string>& scaled = {}) {
  const ArrayList list = Tensors(arrays);
  EXPECT_TRUE(CheckArrays(list).ok()) << CheckArrays(list);
  const auto names = ArraysOfInputs(model, list, scaled);
  EXPECT_EQ(names.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(names.status().message());
}

TEST(DatasetLayoutTest, EachInputTakesTheArrayOfItsNameInTheOrderOfTheModel) {
  const v1::Model model = ModelOf({"ids int64 -1 -1", "mask bool -1 -1", "image float -1 3 8 8", "features double -1 5"});
  const auto names = ArraysOfInputs(
      model, Tensors({"features float 9 5", "image uint8 9 3 8 8", "mask bool 9 16", "ids int64 9 16", "y int32 9"}), {"image"});
  ASSERT_TRUE(names.ok()) << names.status();
  EXPECT_THAT(*names, ElementsAre("ids", "mask", "image", "features"));
}

TEST(DatasetLayoutTest, TheOnlyInputIsXWhateverItsName) {
  const v1::Model model = ModelOf({"ids int64 -1 -1"});
  EXPECT_THAT(*ArraysOfInputs(model, Tensors({"x int64 9 16"}), {}), ElementsAre("x"));
  EXPECT_THAT(*ArraysOfInputs(model, Tensors({"ids int64 9 16"}), {}), ElementsAre("ids"));
  // With several inputs x is one of them, or nothing.
  EXPECT_THAT(Problem(ModelOf({"ids int64 -1 -1", "mask int64 -1 -1"}), {"x int64 9 16", "mask int64 9 16"}),
              AllOf(HasSubstr("named ids"), HasSubstr("int64 [-1,-1]"), HasSubstr("arrays=x, mask")));
}

TEST(DatasetLayoutTest, YIsTheLabelsAlsoWhereAnInputIsCalledSo) {
  const v1::Model model = ModelOf({"x float -1 3", "y float -1 3"});
  EXPECT_THAT(*ArraysOfInputs(model, Tensors({"x float 9 3", "input_y float 9 3", "y int64 9"}), {}), ElementsAre("x", "input_y"));
  EXPECT_THAT(Problem(model, {"x float 9 3", "y float 9 3"}), HasSubstr("named input_y, for the model's input y"));
  EXPECT_THAT(*ArraysOfInputs(ModelOf({"y float -1 3"}), Tensors({"x float 9 3", "y int64 9"}), {}), ElementsAre("x"));
}

TEST(DatasetLayoutTest, TypesAreTheInputsOwnButForFloatsAndScaledBytes) {
  const v1::Model model = ModelOf({"ids int32 -1 4", "image float -1 4"});
  EXPECT_THAT(Problem(model, {"ids int64 9 4", "image float 9 4"}),
              AllOf(HasSubstr("array ids must be int32"), HasSubstr("type=int64")));
  EXPECT_THAT(Problem(model, {"ids float 9 4", "image float 9 4"}), HasSubstr("array ids must be int32"));
  EXPECT_THAT(Problem(model, {"ids int32 9 4", "image uint8 9 4"}), AllOf(HasSubstr("preprocess.inputs"), HasSubstr("type=uint8")));
  EXPECT_THAT(Problem(model, {"ids int32 9 4", "image int64 9 4"}, {"image"}),
              AllOf(HasSubstr("array image must be uint8, int8, float16, float32 or float64"), HasSubstr("type=int64")));
  for (const char* type : {"float16", "float", "double", "uint8", "int8"}) {
    EXPECT_TRUE(ArraysOfInputs(model, Tensors({"ids int32 9 4", absl::StrCat("image ", type, " 9 4")}), {"image"}).ok()) << type;
  }
}

TEST(DatasetLayoutTest, ShapesFollowTheInputsFixedDimensions) {
  const v1::Model model = ModelOf({"a float -1 3 -1", "b float"});
  EXPECT_TRUE(ArraysOfInputs(model, Tensors({"a float 9 3 70", "b float 9 1 2 3"}), {}).ok());
  EXPECT_THAT(Problem(model, {"a float 9 4 70", "b float 9"}), AllOf(HasSubstr("a=[9,4,70]"), HasSubstr("input=[-1,3,-1]")));
  EXPECT_THAT(Problem(model, {"a float 9 3", "b float 9"}), HasSubstr("a=[9,3]"));
  EXPECT_THAT(Problem(ModelOf({"image float -1 3 8 8"}), {"x float 9 8 8 3"}), HasSubstr("transpose"));
}

TEST(DatasetLayoutTest, ArraysThatNobodyReadsAreNamed) {
  const v1::Model model = ModelOf({"a float -1 3", "b float -1 3"});
  EXPECT_THAT(Problem(model, {"a float 9 3", "b float 9 3", "label int64 9"}), AllOf(HasSubstr("array label"), HasSubstr("(a, b)")));
  EXPECT_TRUE(ArraysOfInputs(model, Tensors({"a float 9 3", "b float 9 3", "scores float 9 4"}), {}).ok()) << "targets of an output";
}

TEST(DatasetLayoutTest, ArraysMustHoldTheSameSamples) {
  const auto problem = [](const std::vector<std::string>& arrays) { return std::string(CheckArrays(Tensors(arrays)).message()); };
  EXPECT_EQ(problem({"a float 9 3", "b int64 9", "y int64 9"}), "");
  EXPECT_EQ(problem({"y float 9 2 2 2", "a float 9 3"}), "") << "targets of regression have any shape";
  EXPECT_THAT(problem({"a float 9 3", "b int64 8 5"}), AllOf(HasSubstr("a=[9,3]"), HasSubstr("b=[8,5]")));
  EXPECT_THAT(problem({"a float 9 3", "b int64"}), HasSubstr("array b must hold at least one sample"));
  EXPECT_THAT(problem({"a float 0 3"}), HasSubstr("array a must hold at least one sample"));
  EXPECT_THAT(problem({"y int64 9"}), HasSubstr("an array for each of the model's inputs"));
  EXPECT_THAT(problem({"a float 9 3", "y int64 8"}), AllOf(HasSubstr("a=[9,3]"), HasSubstr("y=[8]")));
  EXPECT_THAT(problem({"a float 9 3", "y int64 9 2 2"}), HasSubstr("y=[9,2,2]"));
  EXPECT_THAT(problem({"a float 9 3", "y bool 9"}), HasSubstr("type=bool"));
  EXPECT_TRUE(HasLabels(Tensors({"a float 9 3", "y int64 9"})));
  EXPECT_FALSE(HasLabels(Tensors({"a float 9 3", "y float 9"})));
  EXPECT_FALSE(HasLabels(Tensors({"a float 9 3"})));
}

}  // namespace
}  // namespace pactory

#include "quant/onnx/tensor.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <onnx/onnx_pb.h>

namespace pactory::quant {
namespace {

TEST(TensorTest, EveryTypeSurvivesTheRoundTrip) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble, at::kHalf, at::kBFloat16, at::kChar, at::kShort, at::kInt,
                                    at::kLong, at::kByte, at::kBool}) {
    const at::Tensor tensor = at::tensor({0, 1, 5, 100}).reshape({2, 2}).to(type);
    const auto proto = TensorToProto(tensor, "t");
    ASSERT_TRUE(proto.ok()) << proto.status();
    const auto back = TensorFromProto(*proto);
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(back->scalar_type(), type);
    EXPECT_TRUE(at::equal(*back, tensor));
  }
}

TEST(TensorTest, TypedFieldsAreRead) {
  onnx::TensorProto proto;
  proto.set_data_type(onnx::TensorProto::FLOAT16);
  proto.add_dims(2);
  // 1 and -2 as half precision bit patterns.
  proto.add_int32_data(0x3c00);
  proto.add_int32_data(0xc000);
  const auto tensor = TensorFromProto(proto);
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_EQ((*tensor)[0].item<float>(), 1);
  EXPECT_EQ((*tensor)[1].item<float>(), -2);
}

TEST(TensorTest, TransposedTensorsAreWrittenRowByRow) {
  const at::Tensor tensor = at::arange(6).reshape({2, 3}).t();
  const auto back = TensorFromProto(*TensorToProto(tensor, "t"));
  ASSERT_TRUE(back.ok());
  EXPECT_TRUE(at::equal(*back, tensor));
}

TEST(TensorTest, ScalarsAndEmptyTensorsHaveNoElementsTooMany) {
  onnx::TensorProto proto;
  proto.set_data_type(onnx::TensorProto::INT64);
  EXPECT_FALSE(TensorFromProto(proto).ok());
  proto.add_int64_data(7);
  EXPECT_EQ(TensorFromProto(proto)->item<int64_t>(), 7);
  proto.add_dims(0);
  EXPECT_FALSE(TensorFromProto(proto).ok());
  proto.clear_int64_data();
  EXPECT_EQ(TensorFromProto(proto)->numel(), 0);
}

TEST(TensorTest, AnyNonZeroByteIsTrue) {
  onnx::TensorProto proto;
  proto.set_data_type(onnx::TensorProto::BOOL);
  proto.add_dims(2);
  proto.set_raw_data(std::string("\x00\x07", 2));
  const auto tensor = TensorFromProto(proto);
  ASSERT_TRUE(tensor.ok());
  EXPECT_TRUE(at::equal(tensor->to(at::kLong), at::tensor({0, 1}, at::kLong)));
}

TEST(TensorTest, TypesBelowAByteArePackedFromTheLowestBits) {
  onnx::TensorProto proto;
  proto.set_data_type(22);
  proto.add_dims(3);
  // INT4: 3 and -2 in the first byte, -8 in the second.
  proto.set_raw_data(std::string("\xe3\x08", 2));
  const auto tensor = TensorFromProto(proto);
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_TRUE(at::equal(BytesOf(*tensor), at::tensor({3, -2, -8}, at::kChar)));
  const auto back = TensorToProto(CopyOf(*tensor), "t");
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->data_type(), 22);
  EXPECT_EQ(back->raw_data(), proto.raw_data());
  proto.set_raw_data("\xe3");
  EXPECT_FALSE(TensorFromProto(proto).ok());
}

TEST(TensorTest, FourValuesOfTwoBitsShareAByte) {
  onnx::TensorProto proto;
  proto.set_data_type(25);
  proto.add_dims(5);
  // UINT2, from typed data: 0 1 2 3 and 2.
  proto.add_int32_data(0b11100100);
  proto.add_int32_data(0b10);
  const auto tensor = TensorFromProto(proto);
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_TRUE(at::equal(BytesOf(*tensor), at::tensor({0, 1, 2, 3, 2}, at::kByte)));
}

}  // namespace
}  // namespace pactory::quant

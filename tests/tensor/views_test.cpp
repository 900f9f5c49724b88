#include "tensor/views.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "tensor/torch.h"

namespace incontext::tensor {
namespace {

template <class Call>
std::string error_of(const Call& call) {
  try {
    call();
  } catch (const base::Error& error) {
    return error.what();
  }
  return "";
}

TEST(Views, ShapeFitsWithWildcards) {
  const torch::Tensor x = torch::zeros({2, 3, 4});
  EXPECT_NO_THROW(check_shape(x, {2, 3, 4}, "x"));
  EXPECT_NO_THROW(check_shape(x, {kAnySize, 3, kAnySize}, "x"));
  EXPECT_NO_THROW(check_shape(torch::zeros({}), {}, "x"));
  EXPECT_NO_THROW(check_shape(torch::zeros({0, 3}), {kAnySize, 3}, "x"));
}

TEST(Views, ShapeThatDoesNotFitIsTold) {
  const torch::Tensor x = torch::zeros({2, 3, 4});
  EXPECT_EQ(error_of([&] {
              check_shape(x, {kAnySize, 5, 4}, "attention: queries");
            }),
            "attention: queries: expected shape [any, 5, 4], got float32 [2, 3, 4] on cpu");
  EXPECT_NE(error_of([&] { check_shape(x, {2, 3}, "x"); }), "");
  EXPECT_NE(error_of([&] { check_shape(x, {2, 3, 4, 1}, "x"); }), "");
  EXPECT_NE(error_of([&] { check_shape(x, {}, "x"); }), "");
  EXPECT_EQ(error_of([&] { check_shape(torch::Tensor(), {1}, "x"); }),
            "x: expected shape [1], got an undefined tensor");
}

TEST(Views, OtherChecks) {
  const torch::Tensor x = torch::zeros({2, 3}, torch::kBFloat16);
  EXPECT_NO_THROW(check_dtype(x, torch::kBFloat16, "x"));
  EXPECT_NO_THROW(check_device(x, torch::kCPU, "x"));
  EXPECT_NO_THROW(check_contiguous(x, "x"));
  EXPECT_EQ(error_of([&] { check_dtype(x, torch::kFloat32, "x"); }), "x: expected float32, got bfloat16 [2, 3] on cpu");
  EXPECT_EQ(error_of([&] { check_device(x, torch::Device(torch::kCUDA, 0), "x"); }),
            "x: expected a tensor on cuda:0, got bfloat16 [2, 3] on cpu");
  EXPECT_EQ(error_of([&] { check_contiguous(x.t(), "x"); }),
            "x: expected a contiguous tensor, got bfloat16 [3, 2] on cpu with strides [1, 3]");
  const torch::Tensor none;
  EXPECT_NE(error_of([&] { check_dtype(none, torch::kFloat32, "x"); }), "");
  EXPECT_NE(error_of([&] { check_device(none, torch::kCPU, "x"); }), "");
  EXPECT_NE(error_of([&] { check_contiguous(none, "x"); }), "");
}

TEST(Views, DtypesHaveTheirPythonNames) {
  EXPECT_EQ(dtype_name(torch::kFloat64), "float64");
  EXPECT_EQ(dtype_name(torch::kFloat16), "float16");
  EXPECT_EQ(dtype_name(torch::kInt64), "int64");
  EXPECT_EQ(dtype_name(torch::kUInt8), "uint8");
  EXPECT_EQ(dtype_name(torch::kBool), "bool");
}

TEST(Views, PointersAndSpansSeeTheElements) {
  const torch::Tensor x = torch::arange(6, torch::kFloat32).reshape({2, 3});
  EXPECT_EQ(f32(x)[5], 5.0f);
  f32(x)[5] = 7.0f;
  EXPECT_EQ(x[1][2].item<float>(), 7.0f);
  EXPECT_EQ(f32_span(x).size(), 6u);
  EXPECT_EQ(f32_span(x)[4], 4.0f);
  EXPECT_EQ(f32_span(x[1])[0], 3.0f) << "a row begins at its own offset";
  EXPECT_TRUE(f32_span(torch::zeros({0, 3})).empty());
  const torch::Tensor n = torch::arange(4);
  EXPECT_EQ(i64(n)[3], 3);
  EXPECT_EQ(i64_span(n).size(), 4u);
}

TEST(Views, PointersRefuseOtherTensors) {
  EXPECT_EQ(error_of([] { f32(torch::zeros({2}, torch::kFloat64), "loss"); }),
            "loss: expected float32, got float64 [2] on cpu");
  EXPECT_NE(error_of([] { f32(torch::zeros({2, 3}).t()); }), "");
  EXPECT_NE(error_of([] { f32_span(torch::Tensor()); }), "");
  EXPECT_NE(error_of([] { i64(torch::zeros({2})); }), "");
  EXPECT_NE(error_of([] { i64_span(torch::zeros({2})); }), "");
}

}  // namespace
}  // namespace incontext::tensor

#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "kernels/inputs.h"
#include "kernels/matrix_product.h"

namespace incontext::kernels {
namespace {

TEST(MatrixProductReference, RoundsToNearestEven) {
  // 1 + 2^-8 lies between two bf16 values, 1 and 1 + 2^-7: the even one is 1; 1 + 3 * 2^-8 goes up to 1 + 2^-6.
  const std::vector<std::pair<float, float>> cases{
      {1.00390625F, 1.0F}, {1.01171875F, 1.015625F}, {1.0039064F, 1.0078125F}, {-1.00390625F, -1.0F}, {0.0F, 0.0F}};
  for (const auto& [value, expected] : cases) {
    const float one = 1;
    float out = kNaN;
    MatrixProduct p{.rows = 1,
                    .columns = 1,
                    .depth = 1,
                    .a = &value,
                    .a_stride = 1,
                    .b = &one,
                    .b_stride = 1,
                    .c = &out,
                    .c_stride = 1};
    ref::matrix_product(p, Precision::bf16);
    EXPECT_EQ(out, expected) << value;
  }
}

TEST(MatrixProductReference, GeluDerivativeIsTheSlopeOfGelu) {
  // Central differences of the forward epilogue, which works in double but returns floats: step 1/64.
  for (float x = -4; x <= 4; x += 0.25F) {
    const auto gelu = [](float at) {
      const float one = 1;
      float out = 0;
      MatrixProduct p{.rows = 1,
                      .columns = 1,
                      .depth = 1,
                      .a = &at,
                      .a_stride = 1,
                      .b = &one,
                      .b_stride = 1,
                      .c = &out,
                      .c_stride = 1};
      p.epilogue.activation = Activation::gelu_tanh;
      ref::matrix_product(p, Precision::f32);
      return static_cast<double>(out);
    };
    const double slope = (gelu(x + 0.015625F) - gelu(x - 0.015625F)) * 32;
    const float one = 1;
    float pre = x;
    float out = 0;
    MatrixProduct p{.rows = 1,
                    .columns = 1,
                    .depth = 1,
                    .a = &one,
                    .a_stride = 1,
                    .b = &one,
                    .b_stride = 1,
                    .c = &out,
                    .c_stride = 1};
    p.epilogue = {.activation = Activation::gelu_tanh, .preactivation = &pre, .activation_gradient = true};
    ref::matrix_product(p, Precision::f32);
    EXPECT_NEAR(static_cast<double>(out), slope, 1e-4) << x;
    EXPECT_NEAR(static_cast<double>(pre), gelu(x), 1e-7);
  }
}

}  // namespace
}  // namespace incontext::kernels

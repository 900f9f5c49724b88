#include "kernels/activation.h"

#include <gtest/gtest.h>

#include "kernels/inputs.h"
#include "support/close.h"

namespace incontext::kernels {
namespace {

using testing::Tolerance;

class ActivationTest : public EveryInstructionSet {
 protected:
  base::ThreadPool pool_{2};
};
INCONTEXT_EVERY_INSTRUCTION_SET(ActivationTest);

TEST_P(ActivationTest, SiluAndMultiplyAndItsGradient) {
  const Tolerance tolerance{.absolute = 2e-6, .relative = 1e-6};
  for (int64_t width = 0; width <= 35; ++width) {
    Matrix packed(4, 2 * width, 3, 1);
    packed.fill(random_);
    for (int64_t j = 0; j < width; ++j) {  // a row of moderate gates, two of saturated ones
      packed.at(0, j) *= 10;
      packed.at(1, j) = -200;
      packed.at(2, j) = 200;
    }
    Matrix dout(4, width, 2, 1);
    dout.fill(random_);
    Matrix fast(4, width, 1, 1), slow(4, width, 1, 1), fast_gradient(4, 2 * width, 1, 1),
        slow_gradient(4, 2 * width, 1, 1);
    SiluForward forward{4, width, packed.data(), packed.data() + width, packed.stride(), fast.data(), fast.stride()};
    silu_and_multiply(forward, pool_);
    forward.out = slow.data();
    ref::silu_and_multiply(forward);
    EXPECT_CLOSE(fast.values(), slow.values(), tolerance);
    SiluBackward backward{
        4,           width,         packed.data(),        packed.data() + width,        packed.stride(),
        dout.data(), dout.stride(), fast_gradient.data(), fast_gradient.data() + width, fast_gradient.stride()};
    silu_and_multiply_backward(backward, pool_);
    backward.dgate = slow_gradient.data();
    backward.dup = slow_gradient.data() + width;
    ref::silu_and_multiply_backward(backward);
    EXPECT_CLOSE(fast_gradient.values(), slow_gradient.values(), tolerance);
    EXPECT_TRUE(fast.padding_is_untouched() && fast_gradient.padding_is_untouched());
  }
}

TEST_P(ActivationTest, Gelu) {
  for (int64_t width = 0; width <= 35; ++width) {
    Matrix fast(4, width, 0, 1);
    fast.fill(random_);
    for (int64_t j = 0; j < width; ++j) {  // a row of moderate values, two of saturated ones
      fast.at(0, j) *= 6;
      fast.at(1, j) = -200;
      fast.at(2, j) = 200;
    }
    Matrix slow = fast;
    gelu_in_place({4, width, fast.data()}, pool_);
    ref::gelu_in_place({4, width, slow.data()});
    EXPECT_CLOSE(fast.values(), slow.values(), (Tolerance{.absolute = 2e-6, .relative = 1e-6}));
    EXPECT_TRUE(fast.padding_is_untouched());
  }
}

// What a sequence gives must not depend on what it is computed with.
TEST_P(ActivationTest, GeluGivesAValueTheSameBitsAnywhere) {
  Matrix row(1, 35);
  row.fill(random_);
  Matrix whole = row;
  gelu_in_place({1, 35, whole.data()}, pool_);
  gelu_in_place({35, 1, row.data()}, pool_);
  EXPECT_CLOSE(whole.values(), row.values(), testing::exact());
}

TEST(ActivationReference, GradientIsTheSlope) {
  std::vector<double> analytic, numeric;
  for (float gate = -5; gate <= 5; gate += 0.5F) {
    const auto value = [](float g, float u) {
      float out = 0;
      ref::silu_and_multiply({1, 1, &g, &u, 1, &out, 1});
      return static_cast<double>(out);
    };
    const float up = 0.75F, one = 1, step = 0x1p-8F;
    float dgate = 0, dup = 0;
    ref::silu_and_multiply_backward({1, 1, &gate, &up, 1, &one, 1, &dgate, &dup, 1});
    analytic.push_back(static_cast<double>(dgate));
    numeric.push_back((value(gate + step, up) - value(gate - step, up)) / (2 * static_cast<double>(step)));
    analytic.push_back(static_cast<double>(dup));
    numeric.push_back((value(gate, up + step) - value(gate, up - step)) / (2 * static_cast<double>(step)));
  }
  EXPECT_CLOSE(analytic, numeric, (Tolerance{.absolute = 2e-4}));
}

}  // namespace
}  // namespace incontext::kernels

#include "kernels/top_k.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "kernels/inputs.h"
#include "kernels/softmax.h"
#include "support/close.h"

namespace incontext::kernels {
namespace {

using testing::exact;
using testing::Tolerance;

using TopKTest = EveryInstructionSet;
INCONTEXT_EVERY_INSTRUCTION_SET(TopKTest);

void expect_matches_reference(const std::vector<float>& x, int64_t k) {
  SCOPED_TRACE(fmt::format("n {} k {}", x.size(), k));
  const auto size = static_cast<std::size_t>(k);
  std::vector<int64_t> fast(size), slow(size);
  std::vector<float> fast_values(size), slow_values(size);
  top_k(x.data(), static_cast<int64_t>(x.size()), k, fast.data(), fast_values.data());
  ref::top_k(x.data(), static_cast<int64_t>(x.size()), k, slow.data(), slow_values.data());
  EXPECT_EQ(fast, slow);
  EXPECT_EQ(fast_values, slow_values);
}

TEST_P(TopKTest, SweepsSizes) {
  for (int64_t n = 0; n <= 130; ++n) {
    Matrix x(1, n);
    x.fill(random_);
    for (const int64_t k : {int64_t{0}, std::min<int64_t>(1, n), n / 3, n}) expect_matches_reference(x.values(), k);
  }
}

TEST_P(TopKTest, OfEqualNumbersTakesTheFirst) {
  for (const int levels : {1, 2, 5, 40}) {
    std::uniform_int_distribution<int> level(0, levels - 1);
    std::vector<float> x(1000);
    for (float& value : x) value = static_cast<float>(level(random_));
    for (const int64_t k : {1, 2, 7, 100, 999, 1000}) expect_matches_reference(x, k);
  }
  expect_matches_reference({-0.0F, 0.0F, -0.0F}, 2);
}

TEST_P(TopKTest, RisingFallingAndMasked) {
  std::vector<float> x(5000);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i);
  expect_matches_reference(x, 50);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = -static_cast<float>(i);
  expect_matches_reference(x, 50);
  std::fill(x.begin(), x.end(), -INFINITY);
  x[4000] = 1, x[17] = -3;
  expect_matches_reference(x, 5);
}

TEST_P(TopKTest, SoftmaxSweepsSizes) {
  for (const int64_t n : {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 255, 256, 257, 511, 1000, 30011}) {
    for (const float spread : {0.0F, 1.0F, 20.0F}) {
      Matrix x(1, n, 0, 1);
      x.fill(random_);
      for (int64_t j = 0; j < n; ++j) x.at(0, j) = x.at(0, j) * spread + 3;
      std::vector<float> fast(static_cast<std::size_t>(n)), slow(fast);
      softmax(x.data(), n, fast.data());
      ref::softmax(x.data(), n, slow.data());
      EXPECT_CLOSE(fast, slow, (Tolerance{.relative = 6e-6}));
      log_softmax(x.data(), n, fast.data());
      ref::log_softmax(x.data(), n, slow.data());
      EXPECT_CLOSE(fast, slow, (Tolerance{3e-7, 2e-7}));
      EXPECT_NEAR(log_sum_exp(x.data(), n), ref::log_sum_exp(x.data(), n), 3e-7);
      softmax(x.data(), n, x.data());             // in place
      ref::softmax(fast.data(), n, slow.data());  // of log-probabilities: themselves
      EXPECT_CLOSE(x.values(), slow, (Tolerance{.relative = 1e-5}));
    }
  }
}

TEST_P(TopKTest, SoftmaxOfHugeAndMaskedLogits) {
  const std::vector<float> x{1e30F, -INFINITY, 1e30F, -1e30F, 0, 3, -INFINITY, 4, 5, 1e30F, 1e30F};
  std::vector<float> out(x.size());
  softmax(x.data(), static_cast<int64_t>(x.size()), out.data());
  EXPECT_CLOSE(out, (std::vector<float>{0.25F, 0, 0.25F, 0, 0, 0, 0, 0, 0, 0.25F, 0.25F}), exact());
  log_softmax(x.data() + 1, 7, out.data());
  EXPECT_EQ(out[0], -INFINITY);
  EXPECT_EQ(out[1], 0);
}

TEST(TopKReference, SortsByValueThenIndex) {
  const std::vector<float> x{1, 3, 2, 3};
  std::vector<int64_t> indices(3);
  std::vector<float> values(3);
  ref::top_k(x.data(), 4, 3, indices.data(), values.data());
  EXPECT_EQ(indices, (std::vector<int64_t>{1, 3, 2}));
  EXPECT_EQ(values, (std::vector<float>{3, 3, 2}));
}

TEST(SoftmaxReference, Divides) {
  const std::vector<float> x{std::log(1.0F), std::log(3.0F)};
  std::vector<float> out(2);
  ref::softmax(x.data(), 2, out.data());
  EXPECT_CLOSE(out, (std::vector<float>{0.25F, 0.75F}), (Tolerance{.absolute = 1e-7}));
  EXPECT_NEAR(ref::log_sum_exp(x.data(), 2), std::log(4.0), 1e-7);
}

TEST(TopKChecks, RefusesMoreThanThereAre) {
  const float x = 1;
  EXPECT_THROW(top_k(&x, 1, 2, nullptr, nullptr), base::Error);
  EXPECT_THROW(softmax(&x, 0, nullptr), base::Error);
}

}  // namespace
}  // namespace incontext::kernels

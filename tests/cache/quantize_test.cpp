#include "cache/kinds/quantize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/random.h"
#include "kernels/storage.h"

namespace incontext::cache {
namespace {

std::vector<float> normal(size_t size, uint64_t index) {
  std::vector<float> numbers(size);
  base::RandomStream(3, "quantize", index).fill_normal(numbers);
  return numbers;
}

double half_of(double value) {
  return static_cast<double>(kernels::from_f16(kernels::to_f16(static_cast<float>(value))));
}

/// The largest magnitude, with its sign.
double largest_of(const std::vector<float>& numbers) {
  double largest = 0;
  for (const float x : numbers) {
    if (std::abs(static_cast<double>(x)) > std::abs(largest)) largest = static_cast<double>(x);
  }
  return largest;
}

/// sum of x^power (x - scale (code - offset))².
double loss(const std::vector<float>& numbers, const std::vector<int>& codes, int offset, double scale, double power) {
  double sum = 0;
  for (size_t i = 0; i < numbers.size(); ++i) {
    const double x = static_cast<double>(numbers[i]);
    sum += std::pow(std::abs(x), power) * std::pow(x - scale * (codes[i] - offset), 2);
  }
  return sum;
}

TEST(Quantize, RoundsAsLlamaCppDoes) {
  for (uint64_t draw = 0; draw < 200; ++draw) {
    const std::vector<float> x = normal(32, draw);
    std::vector<int> codes(32);
    // 8 bits: d = amax / 127, q = round(x / d).
    const double d = std::abs(largest_of(x)) / 127;
    EXPECT_EQ(static_cast<double>(quantize_symmetric(x, 8, /*refit=*/false, codes.data())), half_of(d));
    for (size_t i = 0; i < 32; ++i) EXPECT_LE(std::abs(static_cast<double>(x[i]) / d - codes[i]), 0.5 + 1e-4);
    // 4 bits: d = the signed maximum / -8, q = min(15, floor(x / d + 8.5)): what is beyond 15 loses up to a step.
    const double d4 = largest_of(x) / -8;
    EXPECT_EQ(static_cast<double>(quantize_symmetric(x, 4, /*refit=*/false, codes.data())), half_of(d4));
    for (size_t i = 0; i < 32; ++i) {
      const double exact = static_cast<double>(x[i]) / d4 + 8;
      EXPECT_GE(codes[i], 0);
      EXPECT_LE(codes[i], 15);
      EXPECT_LE(std::abs(exact - codes[i]), exact > 15.5 ? 1.0001 : 0.5001);
      EXPECT_TRUE(codes[i] == 0 || static_cast<double>(x[i]) != largest_of(x));
    }
  }
}

TEST(Quantize, RefittedScaleIsTheBestOneForItsCodes) {
  double before = 0, after = 0;
  for (uint64_t draw = 0; draw < 200; ++draw) {
    for (const int bits : {8, 4}) {
      const int offset = bits == 8 ? 0 : 8;
      const std::vector<float> x = normal(32, draw);
      std::vector<int> codes(32), same(32);
      const double plain = static_cast<double>(quantize_symmetric(x, bits, false, codes.data()));
      const double fitted = static_cast<double>(quantize_symmetric(x, bits, true, same.data()));
      EXPECT_EQ(codes, same);
      const double best = loss(x, codes, offset, fitted, 2);
      // Beside rounding to f16 no scale near it does better, that of llama.cpp included.
      for (const double factor : {0.99, 0.998, 1.002, 1.01})
        EXPECT_LT(best, loss(x, codes, offset, fitted * factor, 2));
      EXPECT_LE(best, loss(x, codes, offset, plain, 2) * 1.01 + 1e-9);
      before += bits == 4 ? loss(x, codes, offset, plain, 0) : 0;
      after += bits == 4 ? loss(x, codes, offset, fitted, 0) : 0;
    }
  }
  EXPECT_LT(after, before);
}

TEST(Quantize, KiviCoversFromTheLeastToTheLargest) {
  for (uint64_t draw = 0; draw < 200; ++draw) {
    for (const int bits : {2, 4}) {
      std::vector<float> x = normal(32, draw);
      for (float& each : x) each = kernels::from_f16(kernels::to_f16(each + 3));
      std::vector<int> codes(32);
      const auto [least, most] = std::minmax_element(x.begin(), x.end());
      const ScaleAndZero fitted = quantize_asymmetric(x, bits, codes.data());
      EXPECT_EQ(fitted.zero, *least);
      EXPECT_EQ(static_cast<double>(fitted.scale), half_of(static_cast<double>(*most - *least) / ((1 << bits) - 1)));
      EXPECT_EQ(codes[static_cast<size_t>(least - x.begin())], 0);
      EXPECT_EQ(codes[static_cast<size_t>(most - x.begin())], (1 << bits) - 1);
      double largest = 0;
      for (size_t i = 0; i < 32; ++i) {
        largest = std::max(
            largest, std::abs(static_cast<double>(x[i] - fitted.zero - fitted.scale * static_cast<float>(codes[i]))));
      }
      const double step = static_cast<double>(fitted.scale);
      EXPECT_LE(largest, step * (0.5 + (1 << bits) * 0x1.0p-11));
      EXPECT_GE(largest, step * 0.1);
    }
  }
}

TEST(Quantize, OneNumberAndZeros) {
  std::vector<int> codes(4);
  const std::vector<float> zeros(4), ones(4, 1.5F), huge{5e5F, -5e5F, 1, 0};
  EXPECT_EQ(quantize_symmetric(zeros, 4, true, codes.data()), 0);
  EXPECT_EQ(codes, std::vector<int>(4, 8));
  const ScaleAndZero same = quantize_asymmetric(ones, 2, codes.data());
  EXPECT_EQ(same.scale, 0);
  EXPECT_EQ(same.zero, 1.5F);
  EXPECT_EQ(codes, std::vector<int>(4, 0));
  for (const int bits : {8, 4}) EXPECT_TRUE(std::isfinite(quantize_symmetric(huge, bits, true, codes.data())));
}

TEST(Rotation, IsOrthonormalAndItsOwnInverse) {
  for (const int64_t head_dim : {1, 16, 64, 80, 96, 128}) {
    const auto size = static_cast<size_t>(2 * head_dim);
    const std::vector<float> before = normal(size, 5);
    std::vector<float> rotated = before;
    rotate_heads(rotated.data(), 2, head_dim);
    double dot = 0, square = 0;
    for (size_t i = 0; i < size; ++i) {
      dot += static_cast<double>(rotated[i]) * static_cast<double>(rotated[i]);
      square += static_cast<double>(before[i]) * static_cast<double>(before[i]);
    }
    EXPECT_NEAR(dot, square, 1e-4);
    std::vector<float> back = rotated;
    rotate_heads(back.data(), 2, head_dim);
    for (size_t i = 0; i < size; ++i) EXPECT_NEAR(back[i], before[i], 1e-5);
    // A single channel is spread evenly over its run.
    const int64_t width = rotated_width(head_dim);
    std::vector<float> one(static_cast<size_t>(head_dim));
    one.back() = 1;
    rotate_heads(one.data(), 1, head_dim);
    for (int64_t i = 0; i < head_dim; ++i) {
      const bool in_run = i >= head_dim - width;
      EXPECT_NEAR(std::abs(one[static_cast<size_t>(i)]), in_run ? 1 / std::sqrt(static_cast<double>(width)) : 0, 1e-6);
    }
  }
  EXPECT_EQ(rotated_width(80), 16);
  EXPECT_EQ(rotated_width(96), 32);
}

}  // namespace
}  // namespace incontext::cache

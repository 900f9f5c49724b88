#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace incontext::testing {

/// How far two numbers may lie apart: |actual - expected| <= absolute + relative * |expected|.
struct Tolerance {
  double absolute = 0;
  double relative = 0;
};

/// Equality, bit for bit except that -0 equals 0. NaN never passes.
inline Tolerance exact() { return {}; }

/// Tolerance for a sum of `terms` products in a type with unit round-off `epsilon`, where `magnitude` bounds the sum
/// of absolute values of the terms: rounding errors of a recursive sum stay below terms * epsilon * magnitude; a
/// random walk of them below sqrt(terms), which is what we ask, with a factor of 4.
Tolerance accumulated(double epsilon, std::size_t terms, double magnitude);

inline constexpr double kEpsilonF32 = 0x1.0p-24;
inline constexpr double kEpsilonBf16 = 0x1.0p-8;
inline constexpr double kEpsilonF16 = 0x1.0p-11;
inline constexpr double kEpsilonF64 = 0x1.0p-53;

/// The only comparison of arrays in these tests. Returns "" when every element is close, else one line with the
/// worst element: its index, expected, actual and tolerance. Different sizes, a NaN on either side, unequal
/// infinities, and buffers that are the same memory (a test that compares an array with itself) are failures.
std::string compare(std::span<const float> actual, std::span<const float> expected, Tolerance tolerance);
std::string compare(std::span<const double> actual, std::span<const double> expected, Tolerance tolerance);

}  // namespace incontext::testing

/// Expects that compare() finds nothing.
#define EXPECT_CLOSE(actual, expected, tolerance)                                               \
  do {                                                                                          \
    const std::string difference_ = ::incontext::testing::compare(actual, expected, tolerance); \
    EXPECT_TRUE(difference_.empty()) << difference_;                                            \
  } while (false)

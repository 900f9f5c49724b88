#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "kernels/instruction_set.h"

namespace incontext::kernels {

inline constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

/// A matrix whose rows lie `stride` floats apart, the padding between them NaN, and which starts `offset` floats past
/// an allocation, so that it is misaligned.
class Matrix {
 public:
  Matrix(int64_t rows, int64_t columns, int64_t padding = 0, int64_t offset = 0)
      : rows_(rows),
        columns_(columns),
        stride_(columns + padding),
        offset_(offset),
        data_(static_cast<std::size_t>(rows * stride_ + offset + 1), kNaN) {}

  float* data() { return data_.data() + offset_; }
  const float* data() const { return data_.data() + offset_; }
  int64_t rows() const { return rows_; }
  int64_t columns() const { return columns_; }
  int64_t stride() const { return stride_; }
  float& at(int64_t i, int64_t j) { return data()[i * stride_ + j]; }

  /// Uniform in [-1, 1].
  Matrix& fill(std::mt19937& random) {
    std::uniform_real_distribution<float> uniform(-1, 1);
    return fill_with([&] { return uniform(random); });
  }
  /// Multiples of 1/64 in [-1/4, 1/4], so that sums of thousands of products are exact.
  Matrix& fill_exact(std::mt19937& random) {
    std::uniform_int_distribution<int> integer(-16, 16);
    return fill_with([&] { return static_cast<float>(integer(random)) / 64; });
  }
  /// Everything that is not padding.
  std::vector<float> values() const {
    std::vector<float> all;
    for (int64_t i = 0; i < rows_; ++i) {
      for (int64_t j = 0; j < columns_; ++j) all.push_back(data()[i * stride_ + j]);
    }
    return all;
  }
  /// True when nobody wrote between the rows, before or after them.
  bool padding_is_untouched() const {
    for (std::size_t n = 0; n < data_.size(); ++n) {
      const int64_t at = static_cast<int64_t>(n) - offset_;
      const bool inside = at >= 0 && at < rows_ * stride_ && at % stride_ < columns_;
      if (!inside && !std::isnan(data_[n])) return false;
    }
    return true;
  }

 private:
  template <class Draw>
  Matrix& fill_with(const Draw& draw) {
    for (int64_t i = 0; i < rows_; ++i) {
      for (int64_t j = 0; j < columns_; ++j) at(i, j) = draw();
    }
    return *this;
  }

  int64_t rows_, columns_, stride_, offset_;
  std::vector<float> data_;
};

/// Runs each test with every instruction set this machine has.
class EveryInstructionSet : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { force_instruction_set(GetParam()); }
  void TearDown() override { force_instruction_set(""); }
  std::mt19937 random_{7};
};

#define INCONTEXT_EVERY_INSTRUCTION_SET(Suite)                                            \
  INSTANTIATE_TEST_SUITE_P(Isa, Suite, ::testing::ValuesIn(available_instruction_sets()), \
                           [](const auto& isa) { return isa.param; })

}  // namespace incontext::kernels

#pragma once

#include <cstdint>

#include "kernels/weight_product.h"

namespace incontext::kernels {

/// Rows of x rounded to bf16, packed for units that multiply bf16 by bf16: strips of `strip` rows (1, 2 or 4), each
/// [steps][strip][kBf16Step], with 0 behind the depth and behind the last row.
struct Bf16Rows {
  int64_t rows = 0, depth = 0;
  int64_t strip = 0;
  const uint16_t* data = nullptr;
};

constexpr int64_t kBf16Step = 32;

/// What a processor with instructions for bf16 does of a product.
struct Bf16Unit {
  /// Rounds and packs rows [first, first + count) of a matrix as one strip of `strip` rows.
  void (*pack)(const float* x, int64_t stride, int64_t count, int64_t depth, int64_t strip, uint16_t* out) = nullptr;
  /// Outputs [row, row + rows) x [column, column + columns) of a weight in bf16; `row` is a multiple of the strip.
  void (*multiply)(const Bf16Rows& x, const WeightMatrix& w, int64_t row, int64_t rows, int64_t column,
                   int64_t columns) = nullptr;
};

/// AVX-512 BF16, or null where the processor has none.
const Bf16Unit* avx512_bf16_unit();

}  // namespace incontext::kernels

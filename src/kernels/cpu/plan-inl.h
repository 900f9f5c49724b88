// How a matrix product is cut. Included once per instruction set.
#if defined(INCONTEXT_KERNELS_CPU_PLAN_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef INCONTEXT_KERNELS_CPU_PLAN_INL_H
#undef INCONTEXT_KERNELS_CPU_PLAN_INL_H
#else
#define INCONTEXT_KERNELS_CPU_PLAN_INL_H
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "kernels/cpu/tile-inl.h"
#include "kernels/matrix_product.h"

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {

constexpr int64_t kDepthBlock = 384;            // strip of A: 9 KiB of the first-level cache
constexpr int64_t kRightBlock = 65536;          // floats of B that stay in the second-level cache
constexpr int64_t kColumnBlock = 256;           // at most; strip of sums: 6 KiB
constexpr int64_t kLeftBlock = 16 * kTileRows;  // rows of A packed at once
constexpr int64_t kFewRows = 4 * kTileRows;
constexpr int64_t kMostChunks = 16;
constexpr int64_t kPartialSize = int64_t{1} << 20U;  // floats of all partial results

inline int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t round_up(int64_t a, int64_t b) { return ceil_divide(a, b) * b; }

/// Cuts `extent` into equal blocks of at most `most`, rounded up to a multiple of `unit`.
inline int64_t even_block(int64_t extent, int64_t most, int64_t unit) {
  const int64_t blocks = std::max<int64_t>(1, ceil_divide(extent, std::max(most, unit)));
  return std::max(unit, round_up(ceil_divide(extent, blocks), unit));
}

/// How a product is cut. What affects rounding (depth_block, depth_chunk) depends on shapes only; blocks of rows and
/// columns may depend on the number of threads.
struct Plan {
  int64_t depth_block = 0;                      // of one pass over the result
  int64_t depth_chunk = 0;                      // summed apart, then added in order
  int64_t chunks = 1;                           // of the depth
  int64_t row_block = 0, row_blocks = 0;        // of a piece of work
  int64_t column_range = 0, column_ranges = 0;  // of a piece of work
  int64_t column_block = 0;                     // whose panels of B stay in the second-level cache
  bool pack_left = false;                       // else its rows are read where they lie
  bool pack_right = true;
  bool share_right = false;  // B is packed once, before all pieces, instead of by each piece
};

/// Whether C must not hold sums that are not yet complete: a residual in C would be overwritten, bf16 round them.
inline bool result_in_one_pass(const MatrixProduct& p) {
  return p.c.is_bf16() || (p.epilogue.residual != nullptr && p.epilogue.residual == p.c.f32());
}

/// Rows first … first + rows - 1 of a product; what is null stays null.
inline MatrixProduct rows_of(const MatrixProduct& p, int64_t first, int64_t rows) {
  MatrixProduct part = p;
  part.rows = rows;
  if (!(p.a == nullptr)) part.a = p.a + first * p.a_stride;
  if (!(p.c == nullptr)) part.c += first * p.c_stride;
  if (p.epilogue.residual != nullptr) part.epilogue.residual += first * p.c_stride;
  if (!(p.epilogue.preactivation == nullptr)) part.epilogue.preactivation += first * p.c_stride;
  return part;
}

/// Whether a gradient of weights reads its factors where they lie. A tile of AVX-512 takes most of a line from each row
/// of its left factor; narrower ones read a copy as fast or faster.
constexpr bool kReadsInPlace = HWY_TARGET <= HWY_AVX3;

/// Whether rows so far apart share few sets of the first-level cache, so that a copy of them is read faster.
inline bool rows_collide(int64_t stride) { return stride * 4 % 2048 == 0; }

inline void plan_depth(const MatrixProduct& p, bool deep, Plan& plan) {
  if ((deep || p.rows <= kFewRows) && p.transpose_a && !result_in_one_pass(p)) {
    const int64_t affordable = std::max<int64_t>(1, kPartialSize / (p.rows * p.columns));
    plan.chunks = std::clamp<int64_t>(p.depth / (kDepthBlock / 2), 1, std::min(affordable, kMostChunks));
  }
  plan.depth_chunk = std::max<int64_t>(1, ceil_divide(p.depth, plan.chunks));
  plan.chunks = std::max<int64_t>(1, ceil_divide(p.depth, plan.depth_chunk));
  const int64_t most = result_in_one_pass(p) ? plan.depth_chunk : kDepthBlock;
  plan.depth_block = even_block(plan.depth_chunk, most, 8);
}

inline Plan make_plan(const MatrixProduct& p, Precision precision, int64_t threads) {
  Plan plan;
  const bool deep = p.transpose_a && p.depth > 2 * kDepthBlock;
  const bool weight_gradient = deep || (p.transpose_a && threads == 1);
  const bool in_place = kReadsInPlace && precision == Precision::f32;
  plan.pack_left = precision == Precision::bf16 || (p.transpose_a && (!in_place || rows_collide(p.a_stride)));
  const bool whole_panels = !p.transpose_b && p.columns % kTileColumns == 0;
  plan.pack_right = !in_place || !weight_gradient || !whole_panels || rows_collide(p.b_stride);
  plan.share_right = !weight_gradient && p.rows > kFewRows;
  plan_depth(p, deep, plan);
  plan.column_block = even_block(p.columns, std::min(kColumnBlock, kRightBlock / plan.depth_block), kTileColumns);
  plan.row_block = p.rows;
  plan.column_range = p.columns;
  if (plan.share_right) {
    plan.row_block = threads == 1 ? kLeftBlock : std::min(kLeftBlock, ceil_divide(p.rows, threads * 8));
  } else if (weight_gradient) {
    if (threads > 1) plan.row_block = std::max(kLeftBlock, ceil_divide(p.rows, ceil_divide(threads * 4, plan.chunks)));
  } else {
    plan.column_block =
        even_block(p.columns, std::min(plan.column_block, ceil_divide(p.columns, threads * 2)), kTileColumns);
    plan.column_range = plan.column_block;
  }
  plan.row_block = round_up(plan.row_block, kTileRows);
  plan.row_blocks = ceil_divide(p.rows, plan.row_block);
  plan.column_ranges = ceil_divide(p.columns, plan.column_range);
  return plan;
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif

#include "kernels/matrix_product.h"

#include <algorithm>
#include <cstdint>

#include "base/error.h"
#include "base/threads.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/scratch.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/matrix_product.cpp"
#include <hwy/foreach_target.h>
#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include "kernels/cpu/finish-inl.h"
#include "kernels/cpu/tile-inl.h"

// The order of loops is that of Goto & van de Geijn 2008 (Anatomy of high-performance matrix multiplication) with the
// two inner loops exchanged: a strip of kTileRows rows of A stays in the first-level cache while panels of B stream
// from the second level, so that A need not be packed when its rows are contiguous.

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {

constexpr int64_t kDepthBlock = 320;  // strip of A: 7.5 KiB of the first-level cache
constexpr int64_t kColumnBlock = 192;
constexpr int64_t kRowBlock = 192;
constexpr int64_t kFewRows = 4 * kTileRows;
constexpr int64_t kChunkTarget = 16;  // pieces of work wanted when the depth is cut

int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// How a product is cut. What affects rounding (depth_block, depth_chunk) depends on shapes only.
struct Plan {
  int64_t depth_block = 0;   // of one pass over the result
  int64_t depth_chunk = 0;   // summed apart, then added in order
  int64_t chunks = 1;        // of the depth
  int64_t row_block = 0, row_blocks = 0;
  int64_t column_block = 0, column_blocks = 0;
  bool pack_left = false;
  bool share_right = false;  // B is packed once, before all pieces, instead of by each piece
};

bool residual_is_read_first(const MatrixProduct& p) {
  return p.epilogue.residual == p.c && p.epilogue.residual != nullptr;
}

Plan make_plan(const MatrixProduct& p, Precision precision, int threads) {
  Plan plan;
  plan.pack_left = p.transpose_a || precision == Precision::bf16;
  const bool weight_gradient = p.transpose_a && p.depth >= 4 * kDepthBlock && !residual_is_read_first(p);
  plan.share_right = !weight_gradient && p.rows > kFewRows;
  if (weight_gradient) {
    const int64_t blocks = ceil_divide(p.rows, kRowBlock) * ceil_divide(p.columns, kColumnBlock);
    plan.chunks = std::min(ceil_divide(p.depth, kDepthBlock), ceil_divide(kChunkTarget, blocks));
  }
  plan.depth_chunk = std::max<int64_t>(1, ceil_divide(p.depth, plan.chunks));
  plan.chunks = p.depth == 0 ? 1 : ceil_divide(p.depth, plan.depth_chunk);
  // A residual that lies in C would be overwritten by the first of several passes.
  const int64_t passes = residual_is_read_first(p) ? 1 : std::max<int64_t>(1, ceil_divide(plan.depth_chunk, kDepthBlock));
  plan.depth_block = std::max<int64_t>(1, ceil_divide(plan.depth_chunk, passes));
  plan.column_block = kColumnBlock;
  plan.row_block = kRowBlock;
  if (plan.share_right) {
    plan.row_block = std::clamp(ceil_divide(p.rows, int64_t{threads} * 8), int64_t{kTileRows}, kRowBlock);
  } else if (!weight_gradient) {
    plan.column_block = std::clamp(ceil_divide(p.columns, int64_t{threads} * 2), kTileColumns, kColumnBlock);
  }
  plan.row_block = ceil_divide(plan.row_block, kTileRows) * kTileRows;
  plan.column_block = ceil_divide(plan.column_block, kTileColumns) * kTileColumns;
  plan.row_blocks = ceil_divide(p.rows, plan.row_block);
  plan.column_blocks = ceil_divide(p.columns, plan.column_block);
  return plan;
}

/// A rectangle of the product: rows × columns of the result, summed over a range of the depth.
struct Range {
  int64_t row = 0, rows = 0, column = 0, columns = 0, k = 0, depth = 0;
};

void pack_right(const MatrixProduct& p, const Range& range, Precision precision, float* out) {
  const int64_t panel = range.depth * kTileColumns;
  if (p.transpose_b) {
    PackTransposed<kTileColumns>(p.b + range.column * p.b_stride + range.k, p.b_stride, range.depth, range.columns, out,
                                 panel);
  } else {
    PackRows<kTileColumns>(p.b + range.k * p.b_stride + range.column, p.b_stride, range.depth, range.columns, out,
                           panel);
  }
  if (precision == Precision::bf16) RoundAllToBf16(out, ceil_divide(range.columns, kTileColumns) * panel);
}

void pack_left(const MatrixProduct& p, const Range& range, Precision precision, float* out) {
  const int64_t panel = range.depth * kTileRows;
  if (p.transpose_a) {
    PackRows<kTileRows>(p.a + range.k * p.a_stride + range.row, p.a_stride, range.depth, range.rows, out, panel);
  } else {
    PackTransposed<kTileRows>(p.a + range.row * p.a_stride + range.k, p.a_stride, range.depth, range.rows, out, panel);
  }
  if (precision == Precision::bf16) RoundAllToBf16(out, ceil_divide(range.rows, kTileRows) * panel);
}

/// Multiplies one strip of A with all panels of a range.
void multiply_strip(const Left& a, int64_t rows, const float* right, const Range& range, Output out) {
  for (int64_t j = 0; j < range.columns; j += kTileColumns, right += range.depth * kTileColumns) {
    const int64_t columns = std::min(kTileColumns, range.columns - j);
    for (int64_t r = 0; r < rows; ++r) hwy::Prefetch(out.c + r * out.stride);
    if (columns <= kLanes && kLanes > 1) {
      MultiplyRows<1>(a, rows, right, range.depth, [&](auto& tile) HWY_ATTR { FinishTile(out, rows, columns, tile); });
    } else {
      MultiplyRows<2>(a, rows, right, range.depth, [&](auto& tile) HWY_ATTR { FinishTile(out, rows, columns, tile); });
    }
    out.advance_columns(kTileColumns);
  }
}

/// All strips of a range against packed panels of B.
void multiply_range(const MatrixProduct& p, const Range& range, const float* left, const float* right,
                    const Output& out) {
  for (int64_t i = 0; i < range.rows; i += kTileRows) {
    const int64_t rows = std::min<int64_t>(kTileRows, range.rows - i);
    Left a{p.a + (range.row + i) * p.a_stride + range.k, p.a_stride, 1};
    if (left != nullptr) a = {left + i * range.depth, 1, kTileRows};
    Output strip = out;
    strip.advance_rows(i);
    multiply_strip(a, rows, right, range, strip);
  }
}

/// Where the sums over [k, k + depth) of a depth chunk go: C itself, with the epilogue after the last pass, or the
/// chunk's own partial result.
Output output_of(const MatrixProduct& p, const Plan& plan, const Range& range, float* partial) {
  const int64_t chunk = range.k / plan.depth_chunk;
  const bool first = range.k == chunk * plan.depth_chunk;
  Output out;
  if (plan.chunks > 1) {
    out.c = partial + chunk * p.rows * p.columns;
    out.stride = p.columns;
    out.add = !first;
  } else {
    const bool last = range.k + range.depth == p.depth;
    out = make_output(p, first, last);
  }
  out.advance_rows(range.row);
  out.advance_columns(range.column);
  return out;
}

/// One piece of work: a block of rows and of columns and a chunk of the depth.
struct Piece {
  int64_t row_block, column_block, chunk;
};

void run_piece(const MatrixProduct& p, Precision precision, const Plan& plan, const Piece& piece, const float* shared,
               float* partial) {
  const int64_t k_end = std::min(p.depth, (piece.chunk + 1) * plan.depth_chunk);
  Range range;
  range.row = piece.row_block * plan.row_block;
  range.rows = std::min(plan.row_block, p.rows - range.row);
  const int64_t first_column = plan.share_right ? 0 : piece.column_block * plan.column_block;
  const int64_t last_column = plan.share_right ? p.columns : std::min(p.columns, first_column + plan.column_block);
  const int64_t padded_columns = ceil_divide(p.columns, kTileColumns) * kTileColumns;
  range.k = piece.chunk * plan.depth_chunk;
  do {
    range.depth = std::min(plan.depth_block, k_end - range.k);
    const float* left = nullptr;
    if (plan.pack_left) {
      float* packed = scratch(Scratch::left, plan.depth_block * plan.row_block);
      pack_left(p, range, precision, packed);
      left = packed;
    }
    for (range.column = first_column; range.column < last_column; range.column += plan.column_block) {
      range.columns = std::min(plan.column_block, last_column - range.column);
      const float* right = shared + range.k * padded_columns + range.column * range.depth;
      if (!plan.share_right) {
        float* packed = scratch(Scratch::right, plan.depth_block * plan.column_block);
        pack_right(p, range, precision, packed);
        right = packed;
      }
      multiply_range(p, range, left, right, output_of(p, plan, range, partial));
    }
    range.k += range.depth;
  } while (range.k < k_end);
}

/// Packs all of B: for each depth block, panels of kTileColumns columns.
const float* pack_shared(const MatrixProduct& p, Precision precision, const Plan& plan, base::ThreadPool& pool) {
  const int64_t padded_columns = ceil_divide(p.columns, kTileColumns) * kTileColumns;
  float* packed = scratch(Scratch::shared, padded_columns * std::max<int64_t>(p.depth, 1));
  const int64_t passes = ceil_divide(p.depth, plan.depth_block);
  const int64_t column_blocks = ceil_divide(p.columns, kTileColumns * 2);
  pool.run(passes * column_blocks, [&](int64_t piece, int) {
    Range range;
    range.k = piece / column_blocks * plan.depth_block;
    range.depth = std::min(plan.depth_block, p.depth - range.k);
    range.column = piece % column_blocks * kTileColumns * 2;
    range.columns = std::min(kTileColumns * 2, p.columns - range.column);
    pack_right(p, range, precision, packed + range.k * padded_columns + range.column * range.depth);
  });
  return packed;
}

/// Adds the partial results of all chunks in order and finishes.
void add_chunks(const MatrixProduct& p, const Plan& plan, const float* partial, base::ThreadPool& pool) {
  constexpr int64_t kRows = 8;
  const int64_t size = p.rows * p.columns;
  pool.run(ceil_divide(p.rows, kRows), [&](int64_t piece, int) {
    float* sum = scratch(Scratch::extra, p.columns);
    for (int64_t i = piece * kRows; i < std::min(p.rows, (piece + 1) * kRows); ++i) {
      const float* row = partial + i * p.columns;
      ForEachVector(p.columns, [&](auto d, int64_t j) HWY_ATTR {
        auto total = hn::LoadU(d, row + j);
        for (int64_t c = 1; c < plan.chunks; ++c) total = hn::Add(total, hn::LoadU(d, row + c * size + j));
        hn::StoreU(total, d, sum + j);
      });
      Output out = make_output(p, true, true);
      out.advance_rows(i);
      FinishRow(out, sum, p.columns);
    }
  });
}

void MatrixProductTarget(const MatrixProduct& p, Precision precision, base::ThreadPool& pool) {
  const Plan plan = make_plan(p, precision, pool.size());
  const float* shared = plan.share_right ? pack_shared(p, precision, plan, pool) : nullptr;
  float* partial = plan.chunks > 1 ? scratch(Scratch::partial, plan.chunks * p.rows * p.columns) : nullptr;
  const int64_t column_pieces = plan.share_right ? 1 : plan.column_blocks;
  pool.run(plan.chunks * plan.row_blocks * column_pieces, [&](int64_t piece, int) {
    const int64_t block = piece / plan.chunks;
    run_piece(p, precision, plan, {block / column_pieces, block % column_pieces, piece % plan.chunks}, shared, partial);
  });
  if (plan.chunks > 1) add_chunks(p, plan, partial, pool);
}

void SumColumns(int64_t rows, int64_t columns, const float* x, int64_t x_stride, float* sums) {
  ForEachVector(columns, [&](auto d, int64_t j) HWY_ATTR {
    auto even = hn::Zero(d);
    auto odd = hn::Zero(d);
    int64_t i = 0;
    for (; i + 2 <= rows; i += 2) {
      even = hn::Add(even, hn::LoadU(d, x + i * x_stride + j));
      odd = hn::Add(odd, hn::LoadU(d, x + (i + 1) * x_stride + j));
    }
    if (i < rows) even = hn::Add(even, hn::LoadU(d, x + i * x_stride + j));
    hn::StoreU(hn::Add(even, odd), d, sums + j);
  });
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace incontext::kernels {

HWY_EXPORT(MatrixProductTarget);
HWY_EXPORT(SumColumns);

namespace {

void check_product(const MatrixProduct& p) {
  base::check(p.rows >= 0 && p.columns >= 0 && p.depth >= 0,
              "[matrix_product] expected extents of at least 0, got {} x {} x {}", p.rows, p.columns, p.depth);
  const int64_t a_extent = p.transpose_a ? p.rows : p.depth;
  const int64_t b_extent = p.transpose_b ? p.depth : p.columns;
  base::check(p.a_stride >= a_extent, "[matrix_product] expected rows of A at least {} apart, got {}", a_extent, p.a_stride);
  base::check(p.b_stride >= b_extent, "[matrix_product] expected rows of B at least {} apart, got {}", b_extent, p.b_stride);
  base::check(p.c_stride >= p.columns, "[matrix_product] expected rows of C at least {} apart, got {}", p.columns,
              p.c_stride);
  base::check(!p.epilogue.activation_gradient || p.epilogue.preactivation != nullptr,
              "[matrix_product] expected a preactivation with activation_gradient, got none");
}

}  // namespace

void matrix_product(const MatrixProduct& product, Precision precision, base::ThreadPool& pool) {
  check_product(product);
  if (product.rows == 0 || product.columns == 0) return;
  apply_environment();
  HWY_DYNAMIC_DISPATCH(MatrixProductTarget)(product, precision, pool);
}

void column_sums(int64_t rows, int64_t columns, const float* x, int64_t x_stride, float* out, bool accumulate,
                 base::ThreadPool& pool) {
  constexpr int64_t kRows = 256;  // summed apart, then added in order
  if (columns <= 0) return;
  apply_environment();
  const int64_t pieces = std::max<int64_t>(1, (rows + kRows - 1) / kRows);
  float* partial = scratch(Scratch::partial, pieces * columns);
  pool.run(pieces, [&](int64_t piece, int) {
    const int64_t first = piece * kRows;
    HWY_DYNAMIC_DISPATCH(SumColumns)
    (std::min(kRows, rows - first), columns, x + first * x_stride, x_stride, partial + piece * columns);
  });
  float* total = scratch(Scratch::extra, columns);
  HWY_DYNAMIC_DISPATCH(SumColumns)(pieces, columns, partial, columns, total);
  for (int64_t j = 0; j < columns; ++j) out[j] = accumulate ? out[j] + total[j] : total[j];
}

}  // namespace incontext::kernels
#endif

#include "kernels/matrix_product.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/error.h"
#include "base/threads.h"
#include "kernels/cpu/bf16_tiles.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/scratch.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/matrix_product.cpp"
#include <hwy/foreach_target.h>  // must come first
#include <hwy/highway.h>

#include "kernels/cpu/finish-inl.h"
#include "kernels/cpu/plan-inl.h"
#include "kernels/cpu/sums-inl.h"
#include "kernels/cpu/tile-inl.h"

// The order of loops is that of Goto & van de Geijn 2008 (Anatomy of high-performance matrix multiplication) with the
// two inner loops exchanged: a strip of kTileRows rows of A stays in the first-level cache while panels of B stream
// from the second level, so that A need not be packed when its rows are contiguous.

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {

/// A rectangle of the product: rows × columns of the result, summed over a range of the depth.
struct Range {
  int64_t row = 0, rows = 0, column = 0, columns = 0, k = 0, depth = 0;
};

void pack_right(const MatrixProduct& p, const Range& range, Precision precision, float* out) {
  const int64_t panel = range.depth * kTileColumns;
  if (p.transpose_b) {
    PackTransposed<kTileColumns>(p.b.f32() + range.column * p.b_stride + range.k, p.b_stride, range.depth,
                                 range.columns, out, panel);
  } else {
    PackRows<kTileColumns>(p.b.f32() + range.k * p.b_stride + range.column, p.b_stride, range.depth, range.columns, out,
                           panel);
  }
  if (precision == Precision::bf16) RoundAllToBf16(out, ceil_divide(range.columns, kTileColumns) * panel);
}

void pack_left(const MatrixProduct& p, const Range& range, Precision precision, float* out) {
  const int64_t panel = LeftPanelStride(range.depth);
  if (p.transpose_a) {
    PackRows<kTileRows>(p.a.f32() + range.k * p.a_stride + range.row, p.a_stride, range.depth, range.rows, out, panel);
  } else {
    PackTransposed<kTileRows>(p.a.f32() + range.row * p.a_stride + range.k, p.a_stride, range.depth, range.rows, out,
                              panel);
  }
  if (precision == Precision::bf16) RoundAllToBf16(out, ceil_divide(range.rows, kTileRows) * panel);
}

/// Multiplies one strip of A with all panels of a range. Whole tiles without an activation are finished in registers;
/// what else there is goes through a strip of sums in the first-level cache.
void multiply_strip(const Left& a, int64_t rows, Panels right, const Range& range, Output out) {
  HWY_ALIGN float sums[kTileRows * kColumnBlock];
  const bool direct = out.activation == Activation::none && rows == kTileRows && !out.c.is_bf16();
  for (int64_t j = 0; j < range.columns; j += kTileColumns, right = right.skip(1)) {
    const int64_t columns = std::min(kTileColumns, range.columns - j);
    prefetch_tile(out, j, rows);
    if (direct && columns == kTileColumns) {
      MultiplyTile<kTileHeight, kTileVectors>(a, rows, right, range.depth,
                                              [&](auto& tile) HWY_ATTR { FinishTile(out, j, tile); });
      continue;
    }
    const auto store = [&](auto& tile) HWY_ATTR { StoreTile(tile, sums + j, kColumnBlock); };
    if (columns <= kLanes && kLanes > 1) {
      MultiplyRows<1>(a, rows, right, range.depth, store);
    } else {
      MultiplyRows<kTileVectors>(a, rows, right, range.depth, store);
    }
  }
  const int64_t finished = direct ? range.columns / kTileColumns * kTileColumns : 0;
  if (finished == range.columns) return;
  out.advance_columns(finished);
  for (int64_t r = 0; r < rows; ++r) {
    FinishRow(out, sums + r * kColumnBlock + finished, range.columns - finished);
    out.advance_rows(1);
  }
}

/// All strips of a range against panels of B; A is packed in `left`, or null.
void multiply_range(const MatrixProduct& p, const Range& range, const float* left, const Panels& right,
                    const Output& out) {
  for (int64_t i = 0; i < range.rows; i += kTileRows) {
    const int64_t rows = std::min<int64_t>(kTileRows, range.rows - i);
    Left a{p.a.f32() + (range.row + i) * p.a_stride + range.k, p.a_stride, 1};
    if (p.transpose_a) a = {p.a.f32() + range.k * p.a_stride + range.row + i, 1, p.a_stride};
    if (left != nullptr) a = {left + i / kTileRows * LeftPanelStride(range.depth), 1, kTileRows};
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

/// One piece of work: a block of rows, a range of columns and a chunk of the depth.
struct Piece {
  int64_t row_block, column_range, chunk;
};

/// One pass of a piece: all its rows and columns over one depth block, with panels of B. The sums of A over the
/// block are added to `sums` [p.rows], where that is not null.
void run_pass(const MatrixProduct& p, Precision precision, const Plan& plan, const Range& pass, const Panels& right,
              float* partial, float* sums) {
  Range range = pass;
  for (range.row = pass.row; range.row < pass.row + pass.rows; range.row += kLeftBlock) {
    range.rows = std::min(kLeftBlock, pass.row + pass.rows - range.row);
    float* left = nullptr;
    if (plan.pack_left) {
      left = scratch(Scratch::left, kLeftBlock / kTileRows * LeftPanelStride(plan.depth_block));
      pack_left(p, range, precision, left);
    }
    if (sums != nullptr) {
      AddColumnSums(range.depth, range.rows, p.a + range.k * p.a_stride + range.row, p.a_stride, sums + range.row);
    }
    for (int64_t j = 0; j < pass.columns; j += plan.column_block) {
      range.column = pass.column + j;
      range.columns = std::min(plan.column_block, pass.columns - j);
      multiply_range(p, range, left, right.skip(j / kTileColumns), output_of(p, plan, range, partial));
    }
  }
}

/// The panels of B for a pass: in `shared`, or packed now, or where they lie.
Panels panels_of(const MatrixProduct& p, Precision precision, const Plan& plan, const Range& range,
                 const float* shared) {
  if (!plan.pack_right) return PanelsInPlace(p.b.f32() + range.k * p.b_stride + range.column, p.b_stride);
  if (plan.share_right) {
    const int64_t padded_columns = round_up(p.columns, kTileColumns);
    return PackedPanels(shared + range.k * padded_columns + range.column * range.depth, range.depth);
  }
  float* packed = scratch(Scratch::right, plan.depth_block * round_up(plan.column_range, kTileColumns));
  pack_right(p, range, precision, packed);
  return PackedPanels(packed, range.depth);
}

/// `left_sums` [chunks, p.rows] takes the sums of A over each chunk, or is null.
void run_piece(const MatrixProduct& p, Precision precision, const Plan& plan, const Piece& piece, const float* shared,
               float* partial, float* left_sums) {
  const int64_t k_end = std::min(p.depth, (piece.chunk + 1) * plan.depth_chunk);
  Range range;
  range.row = piece.row_block * plan.row_block;
  range.rows = std::min(plan.row_block, p.rows - range.row);
  range.column = piece.column_range * plan.column_range;
  range.columns = std::min(plan.column_range, p.columns - range.column);
  range.k = piece.chunk * plan.depth_chunk;
  float* sums = left_sums == nullptr || piece.column_range > 0 ? nullptr : left_sums + piece.chunk * p.rows;
  if (sums != nullptr) std::fill_n(sums + range.row, range.rows, 0.0F);
  do {  // once even when the depth is 0
    range.depth = std::min(plan.depth_block, k_end - range.k);
    run_pass(p, precision, plan, range, panels_of(p, precision, plan, range, shared), partial, sums);
    range.k += range.depth;
  } while (range.k < k_end);
}

/// Packs all of B: for each depth block, panels of kTileColumns columns.
const float* pack_shared(const MatrixProduct& p, Precision precision, const Plan& plan, base::ThreadPool& pool,
                         Scratch kind = Scratch::shared) {
  const int64_t padded_columns = round_up(p.columns, kTileColumns);
  float* packed = scratch(kind, padded_columns * std::max<int64_t>(p.depth, 1));
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

void MatrixProductTarget(const MatrixProduct& p, Precision precision, base::ThreadPool& pool) {
  const Plan plan = make_plan(p, precision, pool.size_here());
  const float* shared = plan.share_right ? pack_shared(p, precision, plan, pool) : nullptr;
  float* partial = plan.chunks > 1 ? scratch(Scratch::partial, plan.chunks * p.rows * p.columns) : nullptr;
  float* left_sums = p.left_sums == nullptr ? nullptr : scratch(Scratch::sums, plan.chunks * p.rows);
  pool.run(plan.chunks * plan.row_blocks * plan.column_ranges, [&](int64_t piece, int) {
    const int64_t block = piece / plan.chunks;
    run_piece(p, precision, plan, {block / plan.column_ranges, block % plan.column_ranges, piece % plan.chunks}, shared,
              partial, left_sums);
  });
  if (left_sums != nullptr) SumColumns(plan.chunks, p.rows, left_sums, p.rows, p.left_sums);
  if (plan.chunks > 1) AddChunks(p, plan.chunks, partial, pool);
}

/// Rows that are handed on at once, so many that they stay in the second-level cache.
int64_t rows_handed_on(int64_t columns) { return std::max(kTileRows, kRightBlock / columns / kTileRows * kTileRows); }

/// Whether the chain was carried out: few rows are not worth it.
bool ProductChainTarget(const MatrixProduct& first, const MatrixProduct& second, base::ThreadPool& pool) {
  constexpr auto exact = Precision::f32;
  const Plan first_plan = make_plan(first, exact, pool.size_here()),
             second_plan = make_plan(second, exact, pool.size_here());
  if (!first_plan.share_right || !second_plan.share_right) return false;
  const float* first_right = pack_shared(first, exact, first_plan, pool);
  const float* second_right = pack_shared(second, exact, second_plan, pool, Scratch::shared_second);
  const int64_t block = std::min(first_plan.row_block, rows_handed_on(first.columns));
  pool.run(ceil_divide(first.rows, block), [&](int64_t piece, int) {
    const int64_t row = piece * block, rows = std::min(block, first.rows - row);
    MatrixProduct from = rows_of(first, row, rows), to = rows_of(second, row, rows);
    if (first.c == nullptr) from.c = scratch(Scratch::handed_on, block * first.c_stride);
    to.a = from.c;
    run_piece(from, exact, first_plan, {0, 0, 0}, first_right, nullptr, nullptr);
    run_piece(to, exact, second_plan, {0, 0, 0}, second_right, nullptr, nullptr);
  });
  return true;
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace incontext::kernels {

HWY_EXPORT(MatrixProductTarget);
HWY_EXPORT(ProductChainTarget);

namespace {

void check_product(const MatrixProduct& p) {
  base::check(p.rows >= 0 && p.columns >= 0 && p.depth >= 0,
              "[matrix_product] expected extents of at least 0, got {} x {} x {}", p.rows, p.columns, p.depth);
  const int64_t a_extent = p.transpose_a ? p.rows : p.depth;
  const int64_t b_extent = p.transpose_b ? p.depth : p.columns;
  base::check(p.a_stride >= a_extent, "[matrix_product] expected rows of A at least {} apart, got {}", a_extent,
              p.a_stride);
  base::check(p.b_stride >= b_extent, "[matrix_product] expected rows of B at least {} apart, got {}", b_extent,
              p.b_stride);
  base::check(p.c_stride >= p.columns, "[matrix_product] expected rows of C at least {} apart, got {}", p.columns,
              p.c_stride);
  base::check(p.left_sums == nullptr || p.transpose_a, "[matrix_product] left_sums is for a transposed A");
  base::check(!p.epilogue.activation_gradient || p.epilogue.preactivation != nullptr,
              "[matrix_product] expected a preactivation with activation_gradient, got none");
}

/// A factor of bf16 in fp32, in `values` with its rows side by side: for a machine without a unit for bf16.
void widen(ConstArray& factor, int64_t& stride, int64_t rows, int64_t columns, std::vector<float>& values,
           base::ThreadPool& pool) {
  if (!factor.is_bf16()) return;
  values.resize(static_cast<std::size_t>(rows * columns));
  pool.run(rows, [&](int64_t row, int) {
    read_row(Storage::bf16, factor.bf16() + row * stride, columns, values.data() + row * columns);
  });
  factor = values.data();
  stride = columns;
}

}  // namespace

void matrix_product(const MatrixProduct& product, Precision precision, base::ThreadPool& pool) {
  check_product(product);
  if (product.rows == 0 || product.columns == 0) return;
  apply_environment();
  if (precision == Precision::bf16) {
    const TileStrip strip = usable_tile_strip();
    if (strip != nullptr) return matrix_product_on_tiles(product, strip, pool);
  }
  MatrixProduct wide = product;
  std::vector<float> a, b;
  widen(wide.a, wide.a_stride, wide.transpose_a ? wide.depth : wide.rows, wide.transpose_a ? wide.rows : wide.depth, a,
        pool);
  widen(wide.b, wide.b_stride, wide.transpose_b ? wide.columns : wide.depth,
        wide.transpose_b ? wide.depth : wide.columns, b, pool);
  HWY_DYNAMIC_DISPATCH(MatrixProductTarget)(wide, precision, pool);
}

void matrix_product_chain(const MatrixProduct& first, const MatrixProduct& second, Precision precision,
                          base::ThreadPool& pool) {
  check_product(first);
  check_product(second);
  base::check(second.rows == first.rows && second.depth == first.columns && second.a_stride == first.c_stride &&
                  !first.transpose_a && !second.transpose_a && !first.accumulate,
              "[matrix_product_chain] expected a second product of the first's result [{}, {}], got one of [{}, {}]",
              first.rows, first.columns, second.rows, second.depth);
  if (first.rows == 0 || first.columns == 0 || second.columns == 0) return matrix_product(second, precision, pool);
  apply_environment();
  if (precision == Precision::bf16) {
    const TileStrip strip = usable_tile_strip();
    if (strip != nullptr) return matrix_product_chain_on_tiles(first, second, strip, pool);
  } else if (!first.a.is_bf16() && !first.b.is_bf16() && !first.c.is_bf16() && !second.b.is_bf16()) {
    if (HWY_DYNAMIC_DISPATCH(ProductChainTarget)(first, second, pool)) return;
  }
  MatrixProduct whole_first = first, whole_second = second;
  std::vector<float> between;
  if (first.c == nullptr) {
    between.resize(static_cast<std::size_t>(first.rows * first.c_stride));
    whole_first.c = between.data();
    if (precision == Precision::bf16) whole_first.c = reinterpret_cast<uint16_t*>(between.data());
  }
  whole_second.a = whole_first.c;
  matrix_product(whole_first, precision, pool);
  matrix_product(whole_second, precision, pool);
}

}  // namespace incontext::kernels
#endif

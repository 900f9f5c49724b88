#include <algorithm>
#include <cstdint>

#include "base/threads.h"
#include "kernels/cpu/bf16_tiles.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/scratch.h"
#include "kernels/rows.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/matrix_product_tiles.cpp"
#include <hwy/foreach_target.h>  // must come first
#include <hwy/highway.h>

#include "kernels/cpu/finish-inl.h"
#include "kernels/cpu/pairs-inl.h"
#include "kernels/cpu/plan-inl.h"
#include "kernels/cpu/sums-inl.h"
#include "kernels/cpu/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {

/// How a product is cut. Its depth comes in chunks that are summed apart, and a chunk in passes, each of which adds to
/// what the one before it has stored.
struct Blocks {
  int64_t rows, columns;   // strips of 32 rows, blocks of 32 columns
  int64_t chunks, chunk;   // k in each
  int64_t passes;          // over a chunk
  int64_t steps;           // blocks of 32 k in a pass
  int64_t strips_at_once;  // packed together, and multiplied one after the other
  int64_t right_size() const { return steps * kTileBlockSize; }
};

/// Part of the depth.
struct Pass {
  int64_t first, last;
};

inline Pass pass_of(const MatrixProduct& p, const Blocks& blocks, int64_t chunk, int64_t pass) {
  const int64_t first = chunk * blocks.chunk + pass * blocks.steps * kTileBlock;
  return {first, std::min({p.depth, (chunk + 1) * blocks.chunk, first + blocks.steps * kTileBlock})};
}

/// Blocks of columns that are multiplied and then finished: 16 KiB of sums in the first-level cache.
constexpr int64_t kFinishBlocks = 4;
/// Neighbouring strips or blocks that are packed side by side where a row of memory goes across them.
constexpr int64_t kPackedTogether = 4;
/// Of a pass where the depth is long: left strips packed together are 128 KiB of the second-level cache.
constexpr int64_t kPassDepth = 512;

Blocks cut_blocks(const MatrixProduct& p) {
  const Plan plan = make_plan(p, Precision::bf16, 1);
  const int64_t steps = p.depth == 0 ? 0 : ceil_divide(plan.depth_chunk, kTileBlock);
  const bool long_depth = p.transpose_a && !result_in_one_pass(p);
  const int64_t passes = long_depth ? std::max<int64_t>(1, ceil_divide(steps * kTileBlock, kPassDepth)) : 1;
  return {ceil_divide(p.rows, kTileBlock), ceil_divide(p.columns, kTileBlock), plan.chunks, plan.depth_chunk, passes,
          ceil_divide(steps, passes),      p.transpose_a ? kPackedTogether : 1};
}

/// Scratch for `size` bf16 values.
uint16_t* Bf16Scratch(Scratch kind, int64_t size) {
  return reinterpret_cast<uint16_t*>(scratch(kind, ceil_divide(size, 2) + 1));
}

/// All of B, which lies at `b`, as right blocks [chunk][pass][block of columns][step].
template <class T>
const uint16_t* PackRightBlocksOf(const MatrixProduct& p, const T* b, const Blocks& blocks, base::ThreadPool& pool,
                                  Scratch kind) {
  const int64_t passes = blocks.chunks * blocks.passes;
  const int64_t groups = ceil_divide(blocks.columns, kPackedTogether);
  uint16_t* packed = Bf16Scratch(kind, passes * blocks.columns * blocks.right_size());
  pool.run(passes * groups, [&](int64_t piece, int) {
    HWY_ALIGN T block[kTileBlockSize];
    const int64_t at = piece / groups;
    const Pass pass = pass_of(p, blocks, at / blocks.passes, at % blocks.passes);
    const int64_t first_block = piece % groups * kPackedTogether;
    const int64_t last_block = std::min(blocks.columns, first_block + kPackedTogether);
    for (int64_t step = 0; step < blocks.steps; ++step) {
      const int64_t k = pass.first + step * kTileBlock;
      const int64_t left = std::max<int64_t>(0, pass.last - k);
      for (int64_t j = first_block; j < last_block; ++j) {
        const int64_t column = j * kTileBlock;
        const BlockRows<T> rows =
            p.transpose_b ? WholeBlock(b + column * p.b_stride + k, p.b_stride, p.columns - column, left, block)
                          : WholeBlock(b + k * p.b_stride + column, p.b_stride, left, p.columns - column, block);
        uint16_t* out = packed + (at * blocks.columns + j) * blocks.right_size() + step * kTileBlockSize;
        PackRightBlock(rows, p.transpose_b, reinterpret_cast<uint32_t*>(out));
      }
    }
  });
  return packed;
}

const uint16_t* PackRightBlocks(const MatrixProduct& p, const Blocks& blocks, base::ThreadPool& pool,
                                Scratch kind = Scratch::shared) {
  return p.b.is_bf16() ? PackRightBlocksOf(p, p.b.bf16(), blocks, pool, kind)
                       : PackRightBlocksOf(p, p.b.f32(), blocks, pool, kind);
}

/// Strips [strip, strip + count) of A, which lies at `a`, as left blocks [strip][step] of one pass; those of a
/// transposed A by pairs where that is asked for.
template <class T>
void PackLeftStrips(const MatrixProduct& p, const T* a, const Blocks& blocks, int64_t strip, int64_t count,
                    const Pass& pass, bool by_pairs, uint16_t* out) {
  HWY_ALIGN T block[kTileBlockSize];
  int64_t packed = 0;
  if (!p.transpose_a && p.rows - strip * kTileBlock >= count * kTileBlock) {
    // Row by row, so that each is one stream.
    packed = (pass.last - pass.first) / kTileBlock;
    for (int64_t r = 0; r < count * kTileBlock; ++r) {
      const T* in = a + (strip * kTileBlock + r) * p.a_stride + pass.first;
      auto* pairs = reinterpret_cast<uint32_t*>(out + r / kTileBlock * blocks.right_size()) + r % kTileBlock * kPairs;
      for (int64_t step = 0; step < packed; ++step, in += kTileBlock, pairs += kTileBlockSize / 2) {
        PairNeighbours(in, pairs);
      }
    }
  }
  for (int64_t step = packed; step < blocks.steps; ++step) {
    const int64_t k = pass.first + step * kTileBlock;
    const int64_t left = std::max<int64_t>(0, pass.last - k);
    for (int64_t s = 0; s < count; ++s) {
      const int64_t row = (strip + s) * kTileBlock;
      const BlockRows<T> rows = p.transpose_a
                                    ? WholeBlock(a + k * p.a_stride + row, p.a_stride, left, p.rows - row, block)
                                    : WholeBlock(a + row * p.a_stride + k, p.a_stride, p.rows - row, left, block);
      auto* pairs = reinterpret_cast<uint32_t*>(out + s * blocks.right_size() + step * kTileBlockSize);
      by_pairs ? PackLeftBlockByPairs(rows, pairs) : PackLeftBlock(rows, p.transpose_a, pairs);
    }
  }
}

/// Strips [strip, strip + count) of A over one pass, `each` apart: where they lie, if they lie there as the unit reads
/// them, or packed.
LeftStrip LeftStrips(const MatrixProduct& p, const Blocks& blocks, int64_t strip, int64_t count, const Pass& pass,
                     bool by_pairs, int64_t& each) {
  const int64_t first_row = strip * kTileBlock;
  if (p.a.is_bf16() && !p.transpose_a && p.rows - first_row >= count * kTileBlock &&
      pass.last - pass.first == blocks.steps * kTileBlock) {
    each = kTileBlock * p.a_stride;
    return {p.a.bf16() + first_row * p.a_stride + pass.first, p.a_stride, kTileBlock};
  }
  each = blocks.right_size();
  uint16_t* packed = Bf16Scratch(Scratch::left, count * each);
  if (p.a.is_bf16()) {
    PackLeftStrips(p, p.a.bf16(), blocks, strip, count, pass, by_pairs, packed);
  } else {
    PackLeftStrips(p, p.a.f32(), blocks, strip, count, pass, by_pairs, packed);
  }
  return by_pairs ? left_by_pairs(packed) : LeftStrip{packed};
}

/// One strip against all blocks of columns.
void MultiplyStrip(const Blocks& blocks, TileStrip multiply, int64_t columns, const LeftStrip& left,
                   const uint16_t* right, Output out) {
  float* sums = scratch(Scratch::right, kTileBlock * kFinishBlocks * kTileBlock);
  for (int64_t block = 0; block < blocks.columns; block += kFinishBlocks) {
    const int64_t count = std::min(kFinishBlocks, blocks.columns - block);
    const int64_t width = std::min(count * kTileBlock, columns - block * kTileBlock);
    Fetches fetches;
    add_finished(out, left.rows, width, fetches);
    multiply(left, right + block * blocks.right_size(), blocks.steps, count, sums, fetches);
    Output part = out;
    for (int64_t i = 0; i < left.rows; ++i) {
      FinishRow(part, sums + i * count * kTileBlock, width);
      part.advance_rows(1);
    }
    out.advance_columns(width);
  }
}

/// out [columns, rows] = in [rows, columns], transposed.
void TransposeMatrix(const float* in, int64_t rows, int64_t columns, float* out, int64_t out_stride,
                     base::ThreadPool& pool) {
  constexpr int64_t kRows = 16;  // a line of the result
  pool.run(ceil_divide(rows, kRows), [&](int64_t piece, int) {
    const int64_t first = piece * kRows, last = std::min(rows, first + kRows);
    for (int64_t j = 0; j < columns; j += 4) {
      int64_t i = first;
      if (j + 4 <= columns) {
        for (; i + 4 <= last; i += 4) Transpose4(in + i * columns + j, columns, out + j * out_stride + i, out_stride);
      }
      for (; i < last; ++i) {
        for (int64_t c = j; c < std::min(columns, j + 4); ++c) out[c * out_stride + i] = in[i * columns + c];
      }
    }
  });
}

void TilesProductTarget(const MatrixProduct& p, TileStrip multiply, base::ThreadPool& pool) {
  const Blocks blocks = cut_blocks(p);
  const bool by_pairs = p.transpose_a && takes_pairs(multiply);
  const uint16_t* right = PackRightBlocks(p, blocks, pool);
  float* partial = blocks.chunks > 1 ? scratch(Scratch::partial, blocks.chunks * p.rows * p.columns) : nullptr;
  float* left_sums = p.left_sums == nullptr ? nullptr : scratch(Scratch::sums, blocks.chunks * p.rows);
  pool.run(ceil_divide(blocks.rows, blocks.strips_at_once) * blocks.chunks, [&](int64_t piece, int) {
    const int64_t chunk = piece % blocks.chunks;
    const int64_t strip = piece / blocks.chunks * blocks.strips_at_once;
    const int64_t strips = std::min(blocks.strips_at_once, blocks.rows - strip);
    const int64_t first_row = strip * kTileBlock;
    const int64_t strip_rows = std::min(strips * kTileBlock, p.rows - first_row);
    float* sums = left_sums == nullptr ? nullptr : left_sums + chunk * p.rows + first_row;
    if (sums != nullptr) std::fill_n(sums, strip_rows, 0.0F);
    for (int64_t pass = 0; pass < blocks.passes; ++pass) {
      const Pass range = pass_of(p, blocks, chunk, pass);
      int64_t each = 0;
      LeftStrip left = LeftStrips(p, blocks, strip, strips, range, by_pairs, each);
      if (sums != nullptr) {
        AddColumnSums(range.last - range.first, strip_rows, p.a + range.first * p.a_stride + first_row, p.a_stride,
                      sums);
      }
      Output out = make_output(p, pass == 0, pass + 1 == blocks.passes);
      if (partial != nullptr) {
        out = {};
        out.c = partial + chunk * p.rows * p.columns;
        out.stride = p.columns;
        out.add = pass > 0;
      }
      out.advance_rows(strip * kTileBlock);
      const uint16_t* factor = right + (chunk * blocks.passes + pass) * blocks.columns * blocks.right_size();
      for (int64_t s = 0; s < strips; ++s) {
        const int64_t rows = std::min(kTileBlock, p.rows - (strip + s) * kTileBlock);
        left.rows = rows;
        MultiplyStrip(blocks, multiply, p.columns, left, factor, out);
        left.data += each;
        out.advance_rows(rows);
      }
    }
  });
  if (left_sums != nullptr) SumColumns(blocks.chunks, p.rows, left_sums, p.rows, p.left_sums);
  if (partial != nullptr) AddChunks(p, blocks.chunks, partial, pool);
}

/// One strip of rows, of a product that is not cut along its depth.
void StripProduct(const MatrixProduct& p, const Blocks& blocks, TileStrip multiply, const uint16_t* right) {
  int64_t each = 0;
  LeftStrip left = LeftStrips(p, blocks, 0, 1, {0, p.depth}, false, each);
  left.rows = p.rows;
  MultiplyStrip(blocks, multiply, p.columns, left, right, make_output(p, true, true));
}

void TilesChainTarget(const MatrixProduct& first, const MatrixProduct& second, TileStrip multiply,
                      base::ThreadPool& pool) {
  const Blocks first_blocks = cut_blocks(first), second_blocks = cut_blocks(second);
  const uint16_t* first_right = PackRightBlocks(first, first_blocks, pool);
  const uint16_t* second_right = PackRightBlocks(second, second_blocks, pool, Scratch::shared_second);
  pool.run(first_blocks.rows, [&](int64_t strip, int) {
    const int64_t row = strip * kTileBlock, rows = std::min(kTileBlock, first.rows - row);
    MatrixProduct from = rows_of(first, row, rows), to = rows_of(second, row, rows);
    if (first.c == nullptr) from.c = Bf16Scratch(Scratch::handed_on, kTileBlock * first.c_stride);
    to.a = from.c;
    StripProduct(from, first_blocks, multiply, first_right);
    StripProduct(to, second_blocks, multiply, second_right);
  });
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace incontext::kernels {

HWY_EXPORT(TilesProductTarget);
HWY_EXPORT(TilesChainTarget);
HWY_EXPORT(TransposeMatrix);

namespace {

/// A gradient of weights that is much wider than high is better computed as its transpose: the left factor is packed
/// in parts that are used at once, the right one as a whole.
bool better_transposed(const MatrixProduct& p) {
  const bool plain = !p.accumulate && p.epilogue.bias == nullptr && p.epilogue.residual == nullptr &&
                     p.epilogue.activation == Activation::none;
  return plain && p.transpose_a && !p.transpose_b && !p.c.is_bf16() && p.columns >= 2 * p.rows && p.depth >= 4 * p.rows;
}

void product_transposed(const MatrixProduct& p, TileStrip strip, base::ThreadPool& pool) {
  MatrixProduct turned{.rows = p.columns,
                       .columns = p.rows,
                       .depth = p.depth,
                       .a = p.b,
                       .a_stride = p.b_stride,
                       .transpose_a = true,
                       .b = p.a,
                       .b_stride = p.a_stride,
                       .c = scratch(Scratch::scores, p.rows * p.columns),
                       .c_stride = p.rows};
  HWY_DYNAMIC_DISPATCH(TilesProductTarget)(turned, strip, pool);
  HWY_DYNAMIC_DISPATCH(TransposeMatrix)(turned.c.f32(), p.columns, p.rows, p.c.f32(), p.c_stride, pool);
  if (p.left_sums != nullptr) column_sums(p.depth, p.rows, p.a, p.a_stride, p.left_sums, pool);
}

}  // namespace

void matrix_product_on_tiles(const MatrixProduct& product, TileStrip strip, base::ThreadPool& pool) {
  apply_environment();
  if (better_transposed(product)) return product_transposed(product, strip, pool);
  HWY_DYNAMIC_DISPATCH(TilesProductTarget)(product, strip, pool);
}

void matrix_product_chain_on_tiles(const MatrixProduct& first, const MatrixProduct& second, TileStrip strip,
                                   base::ThreadPool& pool) {
  apply_environment();
  HWY_DYNAMIC_DISPATCH(TilesChainTarget)(first, second, strip, pool);
}

TileStrip usable_tile_strip() {
  // AMX comes with AVX-512: whoever limits dispatch to less wants no AMX either.
  if (!avx512_allowed()) return nullptr;
  const TileStrip amx = amx_tile_strip();
  return amx != nullptr ? amx : avx512_bf16_strip();
}

}  // namespace incontext::kernels
#endif

#include <algorithm>
#include <bit>
#include <cstdint>

#include "base/threads.h"
#include "kernels/cpu/bf16_tiles.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/scratch.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/matrix_product_tiles.cpp"
#include <hwy/foreach_target.h>  // must come first
#include <hwy/highway.h>

#include "kernels/cpu/finish-inl.h"
#include "kernels/cpu/plan-inl.h"
#include "kernels/cpu/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {

/// Round to nearest even; NaN stays NaN. Without branches, for the compiler to vectorise.
HWY_INLINE uint16_t Bf16Bits(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  const uint32_t rounded = (bits + 0x7FFFU + ((bits >> 16U) & 1U)) >> 16U;
  const uint32_t quiet = (bits >> 16U) | 0x40U;
  return static_cast<uint16_t>((bits & 0x7FFFFFFFU) > 0x7F800000U ? quiet : rounded);
}

/// block[o, n] = in[o * stride + n], or in[n * stride + o] when transposed, for o < outer, n < inner; else 0.
void GatherBlock(const float* in, int64_t stride, bool transposed, int64_t outer, int64_t inner, float* block) {
  outer = std::min(outer, kTileBlock);
  inner = std::min(inner, kTileBlock);
  if (outer < kTileBlock || inner < kTileBlock) std::fill_n(block, kTileBlockSize, 0.0F);
  if (!transposed) {
    for (int64_t o = 0; o < outer; ++o) std::copy_n(in + o * stride, inner, block + o * kTileBlock);
    return;
  }
  int64_t n = 0;
  for (; n + 4 <= inner; n += 4) {
    int64_t o = 0;
    for (; o + 4 <= outer; o += 4) Transpose4(in + n * stride + o, stride, block + o * kTileBlock + n, kTileBlock);
    for (; o < outer; ++o) {
      for (int64_t i = n; i < n + 4; ++i) block[o * kTileBlock + i] = in[i * stride + o];
    }
  }
  for (; n < inner; ++n) {
    for (int64_t o = 0; o < outer; ++o) block[o * kTileBlock + n] = in[n * stride + o];
  }
}

/// From rows of 32 k: the two halves lie one behind the other already.
void StoreLeftBlock(const float* block, uint16_t* out) {
  for (int64_t i = 0; i < kTileBlockSize; ++i) out[i] = Bf16Bits(block[i]);
}

/// From 32 k of 32 columns: pairs of k go beside each other.
void StoreRightBlock(const float* block, uint16_t* out) {
  for (int64_t half = 0; half < 2; ++half) {
    for (int64_t k = 0; k < kTileBlock; k += 2) {
      const float* even = block + k * kTileBlock + half * 16;
      const float* odd = even + kTileBlock;
      for (int64_t j = 0; j < 16; ++j, out += 2) {
        out[0] = Bf16Bits(even[j]);
        out[1] = Bf16Bits(odd[j]);
      }
    }
  }
}

/// The extents of a product in blocks.
struct Blocks {
  int64_t rows, columns;  // strips of 32 rows, blocks of 32 columns
  int64_t chunks, chunk;  // of the depth, summed apart; k in each
  int64_t steps;          // blocks of 32 k in a chunk
  int64_t right_size() const { return steps * kTileBlockSize; }
};

Blocks cut_blocks(const MatrixProduct& p) {
  const Plan plan = make_plan(p, Precision::bf16, 1);
  const int64_t steps = p.depth == 0 ? 0 : ceil_divide(plan.depth_chunk, kTileBlock);
  return {ceil_divide(p.rows, kTileBlock), ceil_divide(p.columns, kTileBlock), plan.chunks, plan.depth_chunk, steps};
}

/// Scratch for `size` bf16 values.
uint16_t* Bf16Scratch(Scratch kind, int64_t size) {
  return reinterpret_cast<uint16_t*>(scratch(kind, ceil_divide(size, 2) + 1));
}

/// All of B as right blocks [chunk][block of columns][step].
const uint16_t* PackRightBlocks(const MatrixProduct& p, const Blocks& blocks, base::ThreadPool& pool) {
  uint16_t* packed = Bf16Scratch(Scratch::shared, blocks.chunks * blocks.columns * blocks.right_size());
  pool.run(blocks.chunks * blocks.columns, [&](int64_t piece, int) {
    HWY_ALIGN float block[kTileBlockSize];
    const int64_t column = piece % blocks.columns * kTileBlock;
    const int64_t first = piece / blocks.columns * blocks.chunk;
    const int64_t last = std::min(p.depth, first + blocks.chunk);
    uint16_t* out = packed + piece * blocks.right_size();
    for (int64_t k = first; k < first + blocks.steps * kTileBlock; k += kTileBlock, out += kTileBlockSize) {
      const int64_t left = std::max<int64_t>(0, last - k);
      const float* in = p.transpose_b ? p.b + column * p.b_stride + k : p.b + k * p.b_stride + column;
      GatherBlock(in, p.b_stride, p.transpose_b, left, p.columns - column, block);
      StoreRightBlock(block, out);
    }
  });
  return packed;
}

/// One strip of 32 rows of A as left blocks [step] of one chunk.
void PackLeftStrip(const MatrixProduct& p, const Blocks& blocks, int64_t row, int64_t chunk, uint16_t* out) {
  HWY_ALIGN float block[kTileBlockSize];
  const int64_t first = chunk * blocks.chunk;
  const int64_t last = std::min(p.depth, first + blocks.chunk);
  for (int64_t k = first; k < first + blocks.steps * kTileBlock; k += kTileBlock, out += kTileBlockSize) {
    const int64_t left = std::max<int64_t>(0, last - k);
    const float* in = p.transpose_a ? p.a + k * p.a_stride + row : p.a + row * p.a_stride + k;
    GatherBlock(in, p.a_stride, p.transpose_a, p.rows - row, left, block);
    StoreLeftBlock(block, out);
  }
}

void TilesProductTarget(const MatrixProduct& p, TileStrip multiply, base::ThreadPool& pool) {
  const Blocks blocks = cut_blocks(p);
  const uint16_t* right = PackRightBlocks(p, blocks, pool);
  float* partial = blocks.chunks > 1 ? scratch(Scratch::partial, blocks.chunks * p.rows * p.columns) : nullptr;
  pool.run(blocks.rows * blocks.chunks, [&](int64_t piece, int) {
    const int64_t chunk = piece % blocks.chunks;
    const int64_t row = piece / blocks.chunks * kTileBlock;
    uint16_t* left = Bf16Scratch(Scratch::left, blocks.right_size());
    PackLeftStrip(p, blocks, row, chunk, left);
    const int64_t width = blocks.columns * kTileBlock;
    float* sums = scratch(Scratch::right, kTileBlock * width);
    multiply(left, right + chunk * blocks.columns * blocks.right_size(), blocks.steps, blocks.columns, sums);
    Output out = make_output(p, true, true);
    if (partial != nullptr) {
      out = {};
      out.c = partial + chunk * p.rows * p.columns;
      out.stride = p.columns;
    }
    out.advance_rows(row);
    for (int64_t i = 0; i < std::min(kTileBlock, p.rows - row); ++i) {
      FinishRow(out, sums + i * width, p.columns);
      out.advance_rows(1);
    }
  });
  if (partial != nullptr) AddChunks(p, blocks.chunks, partial, pool);
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace incontext::kernels {

HWY_EXPORT(TilesProductTarget);

void matrix_product_on_tiles(const MatrixProduct& product, TileStrip strip, base::ThreadPool& pool) {
  apply_environment();
  HWY_DYNAMIC_DISPATCH(TilesProductTarget)(product, strip, pool);
}

TileStrip usable_tile_strip() {
  // AMX comes with AVX-512: whoever limits dispatch to less wants no AMX either.
  if ((hwy::SupportedTargets() & HWY_AVX3) == 0) return nullptr;
  const TileStrip amx = amx_tile_strip();
  return amx != nullptr ? amx : avx512_bf16_strip();
}

}  // namespace incontext::kernels
#endif

#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "base/threads.h"
#include "kernels/cpu/fetches.h"
#include "kernels/matrix_product.h"

namespace incontext::kernels {

/// Products of bf16 factors on a unit that multiplies small tiles: 16 rows of A by 16 columns of B, 32 deep, with sums
/// in fp32 (Intel's AMX, or AVX-512 BF16, whose vectors are rows of such tiles). The work comes in blocks of 2 x 2
/// tiles, so that each loaded tile is used twice:
///   left block  [2 halves][16 rows][32 k]                         of 32 rows and 32 k
///   right block [2 halves][16 pairs of k][16 columns][2 of a pair]  of 32 k and 32 columns
constexpr int64_t kTileBlock = 32;
constexpr int64_t kTileBlockSize = kTileBlock * kTileBlock;

/// 32 rows of A, of bf16, with elements between rows, between blocks of 32 k and between pairs of k: packed as left
/// blocks, or where they lie in a matrix, or, for a unit that takes_pairs, as left_by_pairs.
struct LeftStrip {
  const uint16_t* data;
  int64_t row = kTileBlock;
  int64_t step = kTileBlockSize;
  int64_t pair = 2;
  int64_t rows = kTileBlock;  // that are wanted; all are read, and any may be computed
};

/// A strip packed as [steps][16 pairs of k][32 rows][2 of a pair].
inline LeftStrip left_by_pairs(const uint16_t* data) {
  return {.data = data, .row = 2, .step = kTileBlockSize, .pair = 2 * kTileBlock};
}

/// One strip against `blocks` blocks of 32 columns, each `steps` blocks deep; right is [blocks][steps] blocks, sums
/// [32, 32 * blocks] is overwritten, in its wanted rows at least. Meanwhile all lines of `fetches` are fetched, unless
/// steps is 0.
using TileStrip = void (*)(const LeftStrip& left, const uint16_t* right, int64_t steps, int64_t blocks, float* sums,
                           Fetches& fetches);

/// The loops over a unit `Tiles`, which holds the sums of a block between clear() and store().
template <class Tiles>
void multiply_tile_strip(const LeftStrip& left, const uint16_t* right, int64_t steps, int64_t blocks, float* sums,
                         Fetches& fetches) {
  Tiles tiles;
  const int64_t at_once = steps == 0 ? 0 : fetches.lines() / (blocks * steps) + 1;
  for (int64_t block = 0; block < blocks; ++block) {
    tiles.clear();
    for (int64_t step = 0; step < steps; ++step) {
      fetches.fetch(at_once);
      tiles.step(left.data + step * left.step, left.row, right + (block * steps + step) * kTileBlockSize);
    }
    tiles.store(sums + block * kTileBlock, blocks * kTileBlock);
  }
}

/// The unit in plain C++: what AMX computes, but for denormals, which AMX takes for 0. Lets any machine test what
/// surrounds the unit.
class PlainTiles {
 public:
  void clear() { sums_ = {}; }

  void step(const uint16_t* left, int64_t left_row, const uint16_t* right) {
    for (std::size_t i = 0; i < 32; ++i) {
      for (std::size_t j = 0; j < 32; ++j) {
        const uint16_t* a = left + static_cast<int64_t>(i) * left_row;
        const uint16_t* b = right + j / 16 * 512 + j % 16 * 2;
        float even = 0;
        float odd = 0;
        for (std::size_t pair = 0; pair < 16; ++pair) {
          even += value(a[2 * pair]) * value(b[pair * 32]);
          odd += value(a[2 * pair + 1]) * value(b[pair * 32 + 1]);
        }
        sums_[i * 32 + j] += even + odd;
      }
    }
  }

  void store(float* out, int64_t stride) const {
    for (std::size_t i = 0; i < 32; ++i) {
      for (std::size_t j = 0; j < 32; ++j) {
        out[static_cast<int64_t>(i) * stride + static_cast<int64_t>(j)] = sums_[i * 32 + j];
      }
    }
  }

 private:
  static float value(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16U); }

  std::array<float, 1024> sums_{};
};

/// matrix_product with bf16 factors on tiles; `strip` multiplies them.
void matrix_product_on_tiles(const MatrixProduct& product, TileStrip strip, base::ThreadPool& pool);
void matrix_product_chain_on_tiles(const MatrixProduct& first, const MatrixProduct& second, TileStrip strip,
                                   base::ThreadPool& pool);

/// The strip that AMX's instructions multiply, on whatever machine.
TileStrip amx_instructions();

/// The strip of this machine's AMX unit, or null where the processor or the operating system has none.
TileStrip amx_tile_strip();

/// The strip that AVX-512 BF16 multiplies, or null where the processor has none.
TileStrip avx512_bf16_strip();

/// Whether a strip's pairs of k may lie anywhere: what is packed from columns then need not be transposed.
inline bool takes_pairs(TileStrip strip) { return strip == avx512_bf16_strip(); }

/// The better of both that this machine has and dispatch is not limited below; null for none.
TileStrip usable_tile_strip();

}  // namespace incontext::kernels

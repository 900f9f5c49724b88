#include <algorithm>
#include <cstdint>

#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/weight_bf16.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/weight_product_tiles.cpp"
#include <hwy/foreach_target.h>  // must come first
#include <hwy/highway.h>

#include "kernels/cpu/pairs-inl.h"

// Products with weights in bf16 on tiles. The weight is the left factor: 32 of its rows are copied, a block of 32 k
// beside the other, while they stream from memory; packed rows of x are the right one. So the sums come transposed.

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {

/// Up to 32 rows of x as right blocks [step].
void PackTileRows(const float* x, int64_t stride, int64_t count, int64_t depth, uint16_t* out) {
  HWY_ALIGN float block[kTileBlockSize];
  for (int64_t k = 0; k < depth; k += kTileBlock, out += kTileBlockSize) {
    PackRightBlock(WholeBlock(x + k, stride, count, depth - k, block), true, reinterpret_cast<uint32_t*>(out));
  }
}

/// Some rows of x in bf16, each of whole steps.
void RoundRows(const float* x, int64_t stride, int64_t count, int64_t depth, uint16_t* out) {
  HWY_ALIGN float block[kTileBlockSize];
  for (int64_t r = 0; r < count; ++r, x += stride) {
    for (int64_t k = 0; k < depth; k += kTileBlock, out += kTileBlock) {
      const float* from = x + k;
      if (depth - k < kTileBlock) {
        std::fill_n(std::copy_n(from, depth - k, block), kTileBlock - (depth - k), 0.0F);
        from = block;
      }
      PairNeighbours(from, reinterpret_cast<uint32_t*>(out));
    }
  }
}

/// Up to 32 rows of a weight as left blocks [step].
void CopyPanel(const uint16_t* weight, int64_t stride, int64_t count, int64_t depth, uint16_t* out) {
  const int64_t whole = depth / kTileBlock;
  for (int64_t r = 0; r < kTileBlock; ++r, weight += stride, out += kTileBlock) {
    uint16_t* to = out;
    int64_t step = 0;
    if (r < count) {
      for (; step < whole; ++step, to += kTileBlockSize) std::copy_n(weight + step * kTileBlock, kTileBlock, to);
    }
    for (; step * kTileBlock < depth; ++step, to += kTileBlockSize) {
      const int64_t left = r < count ? depth - step * kTileBlock : 0;
      std::copy_n(weight + step * kTileBlock, left, to);
      std::fill_n(to + left, kTileBlock - left, uint16_t{0});
    }
  }
}

/// sums [32 columns][stride], rows of x beside each other, as outputs.
void FinishPanel(const WeightMatrix& w, const float* sums, int64_t stride, int64_t row, int64_t rows, int64_t column,
                 int64_t columns) {
  HWY_ALIGN float turned[4 * kTileBlock];
  for (int64_t r = 0; r < rows; r += 4) {
    for (int64_t c = 0; c < kTileBlock; c += 4) Transpose4(sums + c * stride + r, stride, turned + c, kTileBlock);
    for (int64_t i = 0; i < std::min<int64_t>(4, rows - r); ++i) {
      const int64_t at = (row + r + i) * w.y_stride + column;
      ForEachVector(columns, [&](auto d, int64_t j) HWY_ATTR {
        auto value = hn::LoadU(d, turned + i * kTileBlock + j);
        if (w.bias != nullptr) value = hn::Add(value, hn::LoadU(d, w.bias + column + j));
        if (w.residual != nullptr) value = hn::Add(value, hn::LoadU(d, w.residual + at + j));
        hn::StoreU(value, d, w.y + at + j);
      });
    }
  }
}

void MultiplyOnTiles(TileStrip multiply_strip, const Bf16Rows& x, const WeightMatrix& w, const int64_t (&rows)[2],
                     const int64_t (&columns)[2]) {
  const int64_t steps = x.padded_depth() / kTileBlock;
  const int64_t strips = (rows[1] + kTileBlock - 1) / kTileBlock;
  const int64_t stride = strips * kTileBlock;
  const auto* weight = static_cast<const uint16_t*>(w.weight);
  const uint16_t* right = x.data + rows[0] * x.padded_depth();
  auto* panel = reinterpret_cast<uint16_t*>(scratch(Scratch::left, steps * kTileBlockSize / 2));
  float* sums = scratch(Scratch::right, kTileBlock * stride);
  for (int64_t j = columns[0]; j < columns[0] + columns[1]; j += kTileBlock) {
    const int64_t count = std::min(kTileBlock, columns[0] + columns[1] - j);
    CopyPanel(weight + j * w.stride, w.stride, count, x.depth, panel);
    Fetches next;  // the panel after this one, which streams from memory meanwhile
    const int64_t next_count = std::min(kTileBlock, columns[0] + columns[1] - j - kTileBlock);
    next.add(weight + (j + kTileBlock) * w.stride, w.stride * 2, x.depth * 2, next_count);
    multiply_strip({panel}, right, steps, strips, sums, next);
    FinishPanel(w, sums, stride, rows[0], rows[1], j, count);
  }
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace incontext::kernels {

HWY_EXPORT(PackTileRows);
HWY_EXPORT(RoundRows);
HWY_EXPORT(MultiplyOnTiles);

void TileUnit::pack(const float* x, int64_t stride, int64_t count, int64_t depth, int64_t strip, uint16_t* out) const {
  if (strip == kTileBlock) return HWY_DYNAMIC_DISPATCH(PackTileRows)(x, stride, count, depth, out);
  auto* rounded = reinterpret_cast<uint16_t*>(scratch(Scratch::left, Bf16Unit::packed_size(strip, depth) / 2));
  HWY_DYNAMIC_DISPATCH(RoundRows)(x, stride, count, depth, rounded);
  pack_few_rows(rounded, count, depth, reinterpret_cast<float*>(out));
}

void TileUnit::multiply(const Bf16Rows& x, const WeightMatrix& w, int64_t row, int64_t rows, int64_t column,
                        int64_t columns) const {
  if (x.strip < kTileBlock) return multiply_few_rows(x, w, row, rows, column, columns);
  HWY_DYNAMIC_DISPATCH(MultiplyOnTiles)(multiply_strip_, x, w, {row, rows}, {column, columns});
}

const Bf16Unit* usable_bf16_unit() {
  const TileStrip strip = usable_tile_strip();
  if (strip == nullptr) return nullptr;
  if (strip == avx512_bf16_strip()) return avx512_bf16_unit();
  static const TileUnit amx(strip);
  return &amx;
}

}  // namespace incontext::kernels
#endif

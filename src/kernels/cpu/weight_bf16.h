#pragma once

#include <cstdint>

#include "kernels/cpu/bf16_tiles.h"
#include "kernels/weight_product.h"

namespace incontext::kernels {

/// Depth is packed in steps of this many elements, the last one filled up with 0.
constexpr int64_t kBf16Step = 32;

/// Rows of x rounded to bf16 and packed by a unit, one strip of rows behind the other.
struct Bf16Rows {
  int64_t depth = 0;
  int64_t strip = 0;  // rows in each
  const uint16_t* data = nullptr;

  /// Elements of one row.
  int64_t padded_depth() const { return (depth + kBf16Step - 1) / kBf16Step * kBf16Step; }
};

/// What multiplies weights in bf16 by rows in bf16 on some processors. An output's bits depend on its own row and
/// column alone.
class Bf16Unit {
 public:
  Bf16Unit() = default;
  virtual ~Bf16Unit() = default;
  Bf16Unit(const Bf16Unit&) = delete;
  Bf16Unit& operator=(const Bf16Unit&) = delete;

  /// The rows of a strip where there are `rows` in all.
  virtual int64_t strip(int64_t rows) const = 0;
  /// Columns that are computed together.
  virtual int64_t columns() const = 0;
  /// Elements of a packed strip.
  virtual int64_t packed_size(int64_t strip, int64_t depth) const {
    return strip * ((depth + kBf16Step - 1) / kBf16Step * kBf16Step);
  }
  /// Rounds and packs `count` rows as one strip of `strip` rows.
  virtual void pack(const float* x, int64_t stride, int64_t count, int64_t depth, int64_t strip,
                    uint16_t* out) const = 0;
  /// Outputs [row, row + rows) x [column, column + columns) of a weight in bf16; `row` is a multiple of the strip.
  virtual void multiply(const Bf16Rows& x, const WeightMatrix& w, int64_t row, int64_t rows, int64_t column,
                        int64_t columns) const = 0;
};

/// AVX-512 BF16, or null where the processor has none.
const Bf16Unit* avx512_bf16_unit();

/// Stores an output: its sum (+ bias) (+ residual).
inline void store_output(const WeightMatrix& w, int64_t row, int64_t column, float value) {
  const int64_t at = row * w.y_stride + column;
  if (w.bias != nullptr) value += w.bias[column];
  if (w.residual != nullptr) value += w.residual[at];
  w.y[at] = value;
}

// Few rows in the arithmetic of tiles, bit for bit, at the speed of the memory (weight_few_tiles.cpp).

/// Up to here rows are few.
constexpr int64_t kFewTileRows = 4;

/// Whether the processor has what this takes (AVX-512, which all that have AMX have).
bool has_few_rows_for_tiles();
/// Elements of packed rows.
int64_t few_rows_size(int64_t rows, int64_t depth);
/// Packs rows in bf16, each of whole steps.
void pack_few_rows(const uint16_t* rows, int64_t count, int64_t depth, float* out);
/// Bf16Unit::multiply for a strip of as many rows as there are in all.
void multiply_few_rows(const Bf16Rows& x, const WeightMatrix& w, int64_t row, int64_t rows, int64_t column,
                       int64_t columns);

/// Tiles of 32 columns by 32 rows: AMX.
class TileUnit : public Bf16Unit {
 public:
  explicit TileUnit(TileStrip multiply_strip) : multiply_strip_(multiply_strip) {}

  int64_t strip(int64_t rows) const override {
    return rows <= kFewTileRows && has_few_rows_for_tiles() ? rows : kTileBlock;
  }
  int64_t columns() const override { return kTileBlock; }
  int64_t packed_size(int64_t strip, int64_t depth) const override {
    return strip < kTileBlock ? few_rows_size(strip, depth) : Bf16Unit::packed_size(strip, depth);
  }
  void pack(const float* x, int64_t stride, int64_t count, int64_t depth, int64_t strip, uint16_t* out) const override;
  void multiply(const Bf16Rows& x, const WeightMatrix& w, int64_t row, int64_t rows, int64_t column,
                int64_t columns) const override;

 private:
  TileStrip multiply_strip_;
};

/// The better of both that this machine has and dispatch is not limited below; null for none.
const Bf16Unit* usable_bf16_unit();

/// weight_product with rows in bf16: by `unit` what weights there are in bf16, all else (with null, everything) by
/// fp32 multiply-adds of rounded rows.
void weight_product_in_bf16(const WeightProduct& product, const Bf16Unit* unit, base::ThreadPool& pool);

}  // namespace incontext::kernels

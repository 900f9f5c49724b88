#include "kernels/weight_product.h"

#include <algorithm>
#include <cstddef>
#include <vector>

#include "base/error.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/weight_bf16.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/weight_product.cpp"
#include <hwy/foreach_target.h>  // must come first
#include <hwy/highway.h>

#include "kernels/cpu/weight_few-inl.h"
#include "kernels/cpu/weight_many-inl.h"

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {

/// From this number of rows on both factors are packed.
constexpr int64_t kManyRows = 24;

/// How the outputs of all weights are cut into pieces: a block of rows and a range of columns of one weight. Cuts may
/// depend on anything, for no bit of the result depends on them.
struct WeightCut {
  int64_t row_block = 0, row_blocks = 0, column_range = 0;
  std::vector<int64_t> ends;  // pieces up to and with a weight
};

/// `unit` is what multiplies, or null.
inline WeightCut cut_product(const WeightProduct& p, const Bf16Unit* unit, int threads) {
  const int64_t strip = unit != nullptr ? unit->strip(p.rows) : static_cast<int64_t>(kDotRows);
  const int64_t together = unit != nullptr ? unit->columns() : 24;
  WeightCut cut;
  if (p.rows >= kManyRows) {
    cut.row_blocks = CeilDivide(p.rows, kManyRowBlock);
    cut.row_block = RoundUpTo(CeilDivide(p.rows, cut.row_blocks), strip);
    cut.row_blocks = CeilDivide(p.rows, cut.row_block);
    cut.column_range = std::max(kManyColumnRange / together, int64_t{1}) * together;
  } else {
    int64_t columns = 0;
    for (const WeightMatrix& w : p.matrices) columns += w.columns;
    cut.row_block = p.rows;
    cut.row_blocks = 1;
    // Ranges long enough for streams of their own, short enough to keep all threads busy to the end.
    cut.column_range = RoundUpTo(std::clamp<int64_t>(columns / (threads * 8), together, 32 * together), together);
  }
  for (const WeightMatrix& w : p.matrices) {
    cut.ends.push_back((cut.ends.empty() ? 0 : cut.ends.back()) +
                       CeilDivide(w.columns, cut.column_range) * cut.row_blocks);
  }
  return cut;
}

/// The product with its rows in the order that bf16 weights are read in.
inline WeightProduct order_for_bf16(const WeightProduct& p) {
  WeightProduct ordered = p;
  ordered.x_stride = RoundUpTo(p.depth, kUnit<Storage::bf16>);
  float* x = scratch(Scratch::shared, p.rows * ordered.x_stride);
  ordered.x = x;
  for (int64_t i = 0; i < p.rows; ++i, x += ordered.x_stride) {
    ReadUnits<Storage::f32, Storage::bf16>(p.x + i * p.x_stride, p.depth, x);
  }
  return ordered;
}

/// The product with its rows rounded to bf16.
inline WeightProduct round_rows(const WeightProduct& p) {
  WeightProduct rounded = p;
  rounded.x_stride = RoundUpTo(p.depth, kLanes);
  float* x = scratch(Scratch::extra, p.rows * rounded.x_stride);
  rounded.x = x;
  for (int64_t i = 0; i < p.rows; ++i, x += rounded.x_stride) {
    ForEachVector(p.depth, [&](auto d, int64_t k) HWY_ATTR {
      hn::StoreU(RoundToBf16(d, hn::LoadU(d, p.x + i * p.x_stride + k)), d, x + k);
    });
  }
  return rounded;
}

/// The rows as `unit` wants them.
inline Bf16Rows pack_rows(const WeightProduct& p, const Bf16Unit& unit, base::ThreadPool& pool) {
  Bf16Rows packed{p.depth, unit.strip(p.rows)};
  const int64_t strips = CeilDivide(p.rows, packed.strip);
  const int64_t size = unit.packed_size(packed.strip, p.depth);
  auto* data = reinterpret_cast<uint16_t*>(scratch(Scratch::shared, strips * size / 2));
  packed.data = data;
  const auto pack = [&](int64_t strip, int) {
    const int64_t row = strip * packed.strip;
    unit.pack(p.x + row * p.x_stride, p.x_stride, std::min(packed.strip, p.rows - row), p.depth, packed.strip,
              data + strip * size);
  };
  if (strips > 1) {
    pool.run(strips, pack);
  } else {
    pack(0, 0);
  }
  return packed;
}

/// The rows of a product in the forms that its weights want; a form no weight wants is that of another.
struct WeightRows {
  const WeightProduct* plain = nullptr;
  const WeightProduct* ordered = nullptr;  // for few rows and weights in bf16
  const Bf16Unit* unit = nullptr;          // for weights in bf16, or null
  Bf16Rows packed;                         // for that
};

void RunPiece(const WeightRows& rows, const WeightCut& cut, int64_t piece) {
  const WeightProduct& p = *rows.plain;
  const auto at =
      static_cast<std::size_t>(std::upper_bound(cut.ends.begin(), cut.ends.end(), piece) - cut.ends.begin());
  const WeightMatrix& w = p.matrices[at];
  const int64_t within = piece - (at == 0 ? 0 : cut.ends[at - 1]);
  WeightOutputs outputs;
  outputs.row = within % cut.row_blocks * cut.row_block;
  outputs.rows = std::min(cut.row_block, p.rows - outputs.row);
  outputs.column = within / cut.row_blocks * cut.column_range;
  outputs.columns = std::min(cut.column_range, w.columns - outputs.column);
  if (rows.unit != nullptr && w.storage == Storage::bf16) {
    return rows.unit->multiply(rows.packed, w, outputs.row, outputs.rows, outputs.column, outputs.columns);
  }
  WithStorage(w.storage, [&](auto kind) HWY_ATTR {
    if (p.rows >= kManyRows) {
      MultiplyMany<kind>(p, w, outputs);
    } else {
      MultiplyFew<kind>(kind == Storage::bf16 ? *rows.ordered : p, w, outputs);
    }
  });
}

/// With `unit` null products with bf16 weights are ordinary ones of rounded rows.
void WeightProductTarget(const WeightProduct& product, const Bf16Unit* unit, base::ThreadPool& pool) {
  const auto& matrices = product.matrices;
  const auto in_bf16 = [](const WeightMatrix& w) { return w.storage == Storage::bf16; };
  const bool any_bf16 = std::any_of(matrices.begin(), matrices.end(), in_bf16);
  const bool others = !std::all_of(matrices.begin(), matrices.end(), in_bf16);
  const bool round = product.precision == Precision::bf16 && (unit == nullptr || others);
  const WeightProduct plain = round ? round_rows(product) : product;
  WeightRows rows{&plain, &plain, any_bf16 ? unit : nullptr, {}};
  WeightProduct ordered;
  if (rows.unit != nullptr) {
    rows.packed = pack_rows(product, *unit, pool);
  } else if (any_bf16 && product.rows < kManyRows) {
    ordered = order_for_bf16(plain);
    rows.ordered = &ordered;
  }
  const WeightCut cut = cut_product(product, rows.unit, pool.size());
  pool.run(cut.ends.back(), [&](int64_t piece, int) { RunPiece(rows, cut, piece); });
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace incontext::kernels {

HWY_EXPORT(WeightProductTarget);

namespace {

void check_weights(const WeightProduct& p) {
  base::check(p.rows >= 0 && p.depth >= 0, "[weight_product] expected rows and depth of at least 0, got {} and {}",
              p.rows, p.depth);
  base::check(p.rows <= 1 || p.x_stride >= p.depth, "[weight_product] expected rows of x at least {} apart, got {}",
              p.depth, p.x_stride);
  for (const WeightMatrix& w : p.matrices) {
    base::check(w.columns >= 0, "[weight_product] expected columns of at least 0, got {}", w.columns);
    base::check(w.columns <= 1 || w.stride >= p.depth,
                "[weight_product] expected rows of a weight at least {} elements apart, got {}", p.depth, w.stride);
    base::check(p.rows <= 1 || w.y_stride >= w.columns, "[weight_product] expected rows of y at least {} apart, got {}",
                w.columns, w.y_stride);
  }
}

}  // namespace

void weight_product_in_bf16(const WeightProduct& product, const Bf16Unit* unit, base::ThreadPool& pool) {
  check_weights(product);
  if (product.rows == 0 || product.matrices.empty()) return;
  HWY_DYNAMIC_DISPATCH(WeightProductTarget)(product, unit, pool);
}

void weight_product(const WeightProduct& product, base::ThreadPool& pool) {
  apply_environment();
  if (product.precision == Precision::bf16) return weight_product_in_bf16(product, usable_bf16_unit(), pool);
  check_weights(product);
  if (product.rows == 0 || product.matrices.empty()) return;
  HWY_DYNAMIC_DISPATCH(WeightProductTarget)(product, nullptr, pool);
}

}  // namespace incontext::kernels
#endif

#include "kernels/rows.h"

#include <algorithm>

#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/scratch.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/rows.cpp"
#include <hwy/foreach_target.h>  // must come first
#include <hwy/highway.h>

#include "kernels/cpu/sums-inl.h"

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {

void AddRow(int64_t columns, const float* x, const float* shared, float* y) {
  ForEachVector(columns, [&](auto d, int64_t j) HWY_ATTR {
    hn::StoreU(hn::Add(hn::LoadU(d, x + j), hn::LoadU(d, shared + j)), d, y + j);
  });
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace incontext::kernels {

HWY_EXPORT(AddPieces);
HWY_EXPORT(AddRow);
HWY_EXPORT(SumColumns);

void column_sums(int64_t rows, int64_t columns, const ConstArray& x, int64_t x_stride, float* out,
                 base::ThreadPool& pool) {
  constexpr int64_t kRows = 256;  // summed apart, then added in order
  constexpr int64_t kColumns = 1024;
  if (columns <= 0) return;
  apply_environment();
  const int64_t blocks = std::max<int64_t>(1, (rows + kRows - 1) / kRows);
  const int64_t spans = (columns + kColumns - 1) / kColumns;
  float* partial = blocks == 1 ? out : scratch(Scratch::partial, blocks * columns);
  const auto sum = HWY_DYNAMIC_DISPATCH(SumColumns);
  pool.run(blocks * spans, [&](int64_t piece, int) {
    const int64_t row = piece / spans * kRows, column = piece % spans * kColumns;
    sum(std::min(kRows, rows - row), std::min(kColumns, columns - column), x + row * x_stride + column, x_stride,
        partial + piece / spans * columns + column);
  });
  if (blocks > 1) HWY_DYNAMIC_DISPATCH(AddPieces)(partial, blocks, columns, columns, out);
}

void add_row(int64_t rows, int64_t columns, const float* x, const float* shared, float* y, base::ThreadPool& pool) {
  apply_environment();
  const auto add = HWY_DYNAMIC_DISPATCH(AddRow);
  pool.run(rows, [&](int64_t row, int) { add(columns, x + row * columns, shared, y + row * columns); });
}

}  // namespace incontext::kernels
#endif

#include "kernels/rows.h"

#include <gtest/gtest.h>

#include "kernels/inputs.h"
#include "kernels/stored.h"
#include "support/close.h"

namespace incontext::kernels {
namespace {

using testing::exact;

class RowsTest : public EveryInstructionSet {
 protected:
  base::ThreadPool pool_{2};
};
INCONTEXT_EVERY_INSTRUCTION_SET(RowsTest);

TEST_P(RowsTest, ColumnSums) {
  for (const int64_t rows : {0, 1, 2, 3, 255, 256, 257, 1000}) {
    for (const int64_t columns : {1, 7, 8, 9, 16, 33, 1023, 1024, 1025, 2100}) {
      if (rows * columns > 600000) continue;
      for (const Storage storage : {Storage::f32, Storage::bf16}) {
        SCOPED_TRACE(fmt::format("{}x{} bf16 {}", rows, columns, storage == Storage::bf16));
        Matrix values(rows, columns);
        values.fill_exact(random_);
        StoredMatrix x(storage, rows, columns, 3, 1);
        for (int64_t i = 0; i < rows; ++i) {
          for (int64_t j = 0; j < columns; ++j) x.set(i, j, values.at(i, j));
        }
        Matrix fast(1, columns, 0, 1), slow(1, columns, 0, 1);
        column_sums(rows, columns, x.array(), x.stride(), fast.data(), pool_);
        ref::column_sums(rows, columns, x.array(), x.stride(), slow.data());
        EXPECT_CLOSE(fast.values(), slow.values(), exact());
        EXPECT_TRUE(fast.padding_is_untouched());
      }
    }
  }
}

TEST_P(RowsTest, AddRow) {
  for (const int64_t rows : {0, 1, 2, 5}) {
    for (const int64_t columns : {1, 7, 16, 33, 200}) {
      Matrix x(rows, columns, 0, 1), shared(1, columns, 0, 1), fast(rows, columns, 0, 1);
      x.fill(random_);
      shared.fill(random_);
      Matrix slow = fast, in_place = x;
      add_row(rows, columns, x.data(), shared.data(), fast.data(), pool_);
      ref::add_row(rows, columns, x.data(), shared.data(), slow.data());
      add_row(rows, columns, in_place.data(), shared.data(), in_place.data(), pool_);
      EXPECT_CLOSE(fast.values(), slow.values(), exact());
      EXPECT_CLOSE(in_place.values(), slow.values(), exact());
      EXPECT_TRUE(fast.padding_is_untouched());
    }
  }
}

TEST_P(RowsTest, BitsDoNotDependOnThreads) {
  Matrix x(1000, 1500);
  x.fill(random_);
  std::vector<std::vector<float>> sums;
  for (const int threads : {1, 2, 3, 5}) {
    base::ThreadPool pool(threads);
    Matrix out(1, 1500);
    column_sums(1000, 1500, x.data(), x.stride(), out.data(), pool);
    sums.push_back(out.values());
  }
  for (std::size_t i = 1; i < sums.size(); ++i) EXPECT_CLOSE(sums[i], sums[0], exact());
}

}  // namespace
}  // namespace incontext::kernels

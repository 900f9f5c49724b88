#include "kernels/weight_product.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/error.h"
#include "kernels/cpu/weight_bf16.h"
#include "kernels/emulated_amx.h"
#include "kernels/inputs.h"
#include "kernels/stored.h"
#include "support/close.h"

namespace incontext::kernels {
namespace {

using testing::exact;
using testing::Tolerance;

struct WeightCase {
  int64_t rows = 0, depth = 0;
  std::vector<int64_t> columns;  // of each weight
  Storage storage = Storage::bf16;
  bool bias = false, residual = false, in_place = false;
  bool integers = false;
  int64_t padding = 3, offset = 1;
  Precision precision = Precision::f32;
};

constexpr Precision kBothPrecisions[] = {Precision::f32, Precision::bf16};

/// The tensors of one case; copies of it start from the same values.
struct WeightProblem {
  Matrix x;
  std::vector<StoredMatrix> weights;
  std::vector<Matrix> biases, residuals, ys;
  std::vector<WeightMatrix> arguments;

  WeightProblem(const WeightCase& c, std::mt19937& random) : x(c.rows, c.depth, c.padding, c.offset) {
    c.integers ? x.fill_exact(random) : x.fill(random);
    for (const int64_t columns : c.columns) {
      weights.emplace_back(c.storage, columns, c.depth, c.padding, c.offset);
      biases.emplace_back(1, columns, 0, c.offset);
      residuals.emplace_back(c.rows, columns, c.padding, c.offset);
      ys.emplace_back(c.rows, columns, c.padding, c.offset);
      c.integers ? weights.back().fill_exact(random) : weights.back().fill(random);
      biases.back().fill_exact(random);
      residuals.back().fill_exact(random);
      if (c.in_place) ys.back().fill_exact(random);
    }
  }

  WeightProduct product(const WeightCase& c) {
    arguments.clear();
    for (std::size_t i = 0; i < weights.size(); ++i) {
      arguments.push_back({c.storage, weights[i].data(), weights[i].stride(), c.columns[i],
                           c.bias ? biases[i].data() : nullptr,
                           c.in_place   ? ys[i].data()
                           : c.residual ? residuals[i].data()
                                        : nullptr,
                           ys[i].data(), ys[i].stride()});
    }
    return {c.rows, c.depth, x.data(), x.stride(), arguments, c.precision};
  }
};

void expect_matches_reference(const WeightCase& c, std::mt19937& random, base::ThreadPool& pool,
                              const Bf16Unit* unit = nullptr) {
  SCOPED_TRACE(
      fmt::format("rows {} depth {} columns {} storage {} bias {} residual {} in place {} padding {} precision {}",
                  c.rows, c.depth, c.columns.front(), static_cast<int>(c.storage), c.bias, c.residual, c.in_place,
                  c.padding, static_cast<int>(c.precision)));
  WeightProblem fast(c, random);
  WeightProblem slow = fast;
  unit != nullptr ? weight_product_in_bf16(fast.product(c), unit, pool) : weight_product(fast.product(c), pool);
  ref::weight_product(slow.product(c));
  const Tolerance tolerance =
      c.integers ? exact()
                 : Tolerance{testing::accumulated(testing::kEpsilonF32, static_cast<std::size_t>(c.depth) + 3,
                                                  static_cast<double>(c.depth) / 4 + 3)
                                 .absolute,
                             4e-7};
  for (std::size_t i = 0; i < c.columns.size(); ++i) {
    EXPECT_CLOSE(fast.ys[i].values(), slow.ys[i].values(), tolerance);
    EXPECT_TRUE(fast.ys[i].padding_is_untouched());
  }
}

class WeightProductTest : public EveryInstructionSet {
 protected:
  base::ThreadPool pool_{2};
};
INCONTEXT_EVERY_INSTRUCTION_SET(WeightProductTest);

TEST_P(WeightProductTest, SweepsExtents) {
  int count = 0;
  for (const int64_t rows : {0, 1, 2, 3, 4, 5, 7, 8, 9, 23, 24, 25, 29}) {
    for (const int64_t columns : {0, 1, 2, 3, 4, 7, 8, 9, 11, 24, 25, 50}) {
      for (const int64_t depth : {0, 1, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 77}) {
        WeightCase c{rows, depth, {columns}};
        c.storage = kAllStorages[static_cast<std::size_t>(count % 3)];
        c.bias = (count & 1) != 0;
        c.residual = (count & 2) != 0;
        c.padding = count % 5;
        c.offset = count % 4;
        c.integers = true;  // in steps of 1/64 all sums are exact
        c.precision = kBothPrecisions[static_cast<std::size_t>(count / 3 % 2)];
        count += 1 + count % 7;  // every combination of the above comes up
        expect_matches_reference(c, random_, pool_);
      }
    }
  }
}

TEST_P(WeightProductTest, SumsLongDepthsInBlocks) {
  for (const Storage storage : kAllStorages) {
    for (const int64_t rows : {1, 2, 3, 6, 26}) {
      for (const int64_t depth : {511, 512, 513, 1024, 1027, 2048}) {
        WeightCase c{rows, depth, {26}, storage};
        c.bias = c.residual = true;
        for (const Precision precision : kBothPrecisions) {
          c.precision = precision;
          c.integers = false;
          expect_matches_reference(c, random_, pool_);
          c.integers = true;
          expect_matches_reference(c, random_, pool_);
        }
      }
    }
  }
}

TEST_P(WeightProductTest, CutsRowsAndColumns) {
  for (const int64_t rows : {1, 2, 7, 24, 129, 300}) {
    for (const int64_t columns : {239, 241, 700}) {
      WeightCase c{rows, 40, {columns}};
      c.bias = c.residual = c.integers = true;
      for (const Precision precision : kBothPrecisions) {
        c.precision = precision;
        expect_matches_reference(c, random_, pool_);
      }
    }
  }
}

TEST_P(WeightProductTest, SeveralWeightsAtOnce) {
  for (const int64_t rows : {1, 2, 4, 40}) {
    WeightCase c{rows, 70, {64, 0, 16, 17, 1}};
    c.bias = true;
    for (const Precision precision : kBothPrecisions) {
      c.precision = precision;
      expect_matches_reference(c, random_, pool_);
    }
  }
  // Each weight in a storage of its own.
  for (const int64_t rows : {1, 3, 30, 31}) {
    WeightCase c{rows, 33, {9, 9, 9}};
    c.precision = kBothPrecisions[rows % 2];
    WeightProblem mixed(c, random_);
    for (std::size_t i = 0; i < 3; ++i) mixed.weights[i] = StoredMatrix(kAllStorages[i], 9, 33, 1, 1).fill(random_);
    WeightProduct product = mixed.product(c);
    for (std::size_t i = 0; i < 3; ++i) mixed.arguments[i].storage = kAllStorages[i];
    weight_product(product, pool_);
    std::vector<std::vector<float>> results;
    for (const Matrix& y : mixed.ys) results.push_back(y.values());
    ref::weight_product(product);
    for (std::size_t i = 0; i < 3; ++i) EXPECT_CLOSE(results[i], mixed.ys[i].values(), (Tolerance{2e-6, 4e-7}));
  }
}

TEST_P(WeightProductTest, ResidualMayBeTheResultItself) {
  for (const int64_t rows : {1, 2, 5, 150}) {
    WeightCase c{rows, 1030, {37}};
    c.in_place = c.bias = c.integers = true;
    expect_matches_reference(c, random_, pool_);
  }
}

/// The bits of some rows in a product of 150 and in products of a few of them, each by multiply(product).
template <class Multiply>
void expect_rows_alone_have_the_same_bits(const WeightCase& c, std::mt19937& random, const Multiply& multiply) {
  WeightProblem all(c, random);
  multiply(all.product(c));
  for (const int64_t rows : {1, 2, 3, 4, 5, 11, 23, 24, 37, 149}) {
    const int64_t first = std::min<int64_t>(rows + 1, 150 - rows);
    WeightProblem some = all;
    for (Matrix& y : some.ys) y.fill(random);
    WeightProduct product = some.product(c);
    product.rows = rows;
    product.x += first * some.x.stride();
    for (std::size_t i = 0; i < 2; ++i) some.arguments[i].residual += first * some.residuals[i].stride();
    multiply(product);
    for (std::size_t i = 0; i < 2; ++i) {
      std::vector<float> expected = all.ys[i].values(), actual = some.ys[i].values();
      expected.erase(expected.begin(), expected.begin() + first * c.columns[i]);
      expected.resize(static_cast<std::size_t>(rows * c.columns[i]));
      actual.resize(expected.size());
      EXPECT_CLOSE(actual, expected, exact());
    }
  }
}

TEST_P(WeightProductTest, BitsOfARowDoNotDependOnTheOtherRows) {
  for (const Precision precision : kBothPrecisions) {
    for (const Storage storage : kAllStorages) {
      for (const int64_t depth : {5, 64, 77, 1300}) {
        WeightCase c{150, depth, {61, 30}, storage};
        c.precision = precision;
        c.bias = c.residual = true;
        expect_rows_alone_have_the_same_bits(c, random_,
                                             [&](const WeightProduct& product) { weight_product(product, pool_); });
      }
    }
  }
}

// The units of processors with instructions for bf16, on whatever processor: AVX-512 BF16 where there is any, tiles in
// plain C++, and AMX's instructions, emulated where there are none.
TEST_P(WeightProductTest, UnitsMatchTheReference) {
  const AmxUnit amx;
  const TileUnit plain_tiles(&multiply_tile_strip<PlainTiles>), amx_tiles(amx.strip());
  int count = 0;
  for (const Bf16Unit* unit :
       {avx512_bf16_unit(), static_cast<const Bf16Unit*>(&plain_tiles), static_cast<const Bf16Unit*>(&amx_tiles)}) {
    if (unit == nullptr) continue;
    for (const int64_t rows : {1, 2, 3, 4, 5, 31, 33, 129}) {
      for (const int64_t columns : {0, 1, 5, 31, 33, 70, 250}) {
        for (const int64_t depth : {0, 1, 31, 32, 33, 65}) {
          WeightCase c{rows, depth, {columns, 3}};
          c.precision = Precision::bf16;
          c.bias = (count & 1) != 0;
          c.residual = (count & 2) != 0;
          c.padding = count % 5;
          c.offset = count % 4;
          c.integers = true;
          count += 1 + count % 7;
          expect_matches_reference(c, random_, pool_, unit);
        }
      }
    }
    WeightCase c{3, 2100, {7}};
    c.precision = Precision::bf16;
    expect_matches_reference(c, random_, pool_, unit);
  }
}

TEST_P(WeightProductTest, BitsOfARowDoNotDependOnTheOtherRowsOnTiles) {
  const AmxUnit amx;
  for (const TileStrip strip : {&multiply_tile_strip<PlainTiles>, amx.strip()}) {
    const TileUnit unit(strip);
    for (const int64_t depth : {77, 1300}) {
      WeightCase c{150, depth, {61, 30}};
      c.precision = Precision::bf16;
      c.bias = c.residual = true;
      expect_rows_alone_have_the_same_bits(
          c, random_, [&](const WeightProduct& product) { weight_product_in_bf16(product, &unit, pool_); });
    }
  }
}

// Numbers of all sizes, down to denormals in factors, products and sums, and sums that cancel.
TEST_P(WeightProductTest, FewRowsHaveTheBitsOfAmx) {
  if (!has_few_rows_for_tiles()) GTEST_SKIP() << "a processor without AVX-512, and so without AMX";
  const AmxUnit amx;
  const TileUnit unit(amx.strip());
  for (const int64_t depth : {31, 512, 1100}) {
    WeightCase c{40, depth, {37}};
    c.precision = Precision::bf16;
    WeightProblem all(c, random_);
    std::uniform_int_distribution<int> exponent(-70, 1), rare(0, 7);
    std::uniform_real_distribution<float> uniform(-2, 2);
    const auto draw = [&] {
      const float value = std::ldexp(uniform(random_), exponent(random_));
      return rare(random_) == 0 ? std::ldexp(value, -80) : value;
    };
    for (int64_t i = 0; i < c.rows; ++i) {
      for (int64_t k = 0; k < depth; ++k) all.x.data()[i * all.x.stride() + k] = draw();
      for (int64_t k = 3; k < depth; k += 2) {
        if (rare(random_) < 4) all.x.data()[i * all.x.stride() + k] = -all.x.data()[i * all.x.stride() + k - 2];
      }
    }
    for (int64_t j = 0; j < 37; ++j) {
      for (int64_t k = 0; k < depth; ++k)
        all.weights[0].set(j, k, k > 2 && j % 2 == 0 ? all.weights[0].at(j, k - 2) : draw());
    }
    weight_product_in_bf16(all.product(c), &unit, pool_);
    for (const int64_t rows : {1, 2, 3, 4}) {
      for (int64_t first = 0; first + rows <= c.rows; first += rows) {
        WeightProblem some = all;
        some.ys[0].fill(random_);
        WeightProduct product = some.product(c);
        product.rows = rows;
        product.x += first * some.x.stride();
        weight_product_in_bf16(product, &unit, pool_);
        for (int64_t i = 0; i < rows; ++i) {
          for (int64_t j = 0; j < 37; ++j) {
            ASSERT_EQ(std::bit_cast<uint32_t>(some.ys[0].at(i, j)),
                      std::bit_cast<uint32_t>(all.ys[0].at(first + i, j)));
          }
        }
      }
    }
  }
}

TEST_P(WeightProductTest, BitsDoNotDependOnThreadsOrOnOtherWeights) {
  for (const int64_t rows : {1, 2, 4, 9, 60, 61}) {
    WeightCase c{rows, 600, {250, 33, 500}};
    c.precision = kBothPrecisions[rows % 2];
    const WeightProblem first(c, random_);
    std::vector<std::vector<float>> results;
    for (const int threads : {1, 2, 3, 5}) {
      base::ThreadPool pool(threads);
      WeightProblem problem = first;
      weight_product(problem.product(c), pool);
      results.push_back(problem.ys[2].values());
    }
    WeightProblem alone = first;
    WeightProduct product = alone.product(c);
    product.matrices = product.matrices.subspan(2);
    weight_product(product, pool_);
    results.push_back(alone.ys[2].values());
    for (std::size_t i = 1; i < results.size(); ++i) EXPECT_CLOSE(results[i], results[0], exact());
  }
}

TEST_P(WeightProductTest, BitsDoNotDependOnThePlaceOfAColumn) {
  for (const int64_t rows : {1, 2, 4, 9, 60, 61}) {
    WeightCase c{rows, 130, {50}};
    c.precision = kBothPrecisions[rows % 2];
    WeightProblem all(c, random_);
    weight_product(all.product(c), pool_);
    for (const int64_t first : {1, 7, 49}) {
      WeightProblem some = all;
      some.ys[0].fill(random_);
      WeightProduct product = some.product(c);
      some.arguments[0].weight =
          static_cast<const uint16_t*>(some.arguments[0].weight) + first * some.weights[0].stride();
      some.arguments[0].columns -= first;
      weight_product(product, pool_);
      for (int64_t i = 0; i < rows; ++i) {
        for (int64_t j = first; j < 50; ++j) EXPECT_EQ(some.ys[0].at(i, j - first), all.ys[0].at(i, j));
      }
    }
  }
}

TEST_P(WeightProductTest, RoundsRowsToNearestEven) {
  // 1 + 2^-8 lies between two neighbours and goes to 1, 1 + 3 * 2^-8 to 1 + 2^-6.
  const std::vector<float> x{1.00390625F, 1.01171875F, 0, 0};
  const std::vector<uint16_t> weight{to_bf16(1), 0, 0, 0, 0, to_bf16(1), 0, 0, to_bf16(1), to_bf16(-1), 0, 0};
  std::vector<float> y(3);
  const WeightMatrix matrix{Storage::bf16, weight.data(), 4, 3, nullptr, nullptr, y.data(), 3};
  weight_product({1, 4, x.data(), 4, {&matrix, 1}, Precision::bf16}, pool_);
  EXPECT_CLOSE(y, (std::vector<float>{1, 1.015625F, -0.015625F}), exact());
}

TEST(WeightProductReference, MultipliesByTheTransposedWeight) {
  const std::vector<float> x{1, 2, 3};
  const std::vector<float> weight{1, 0, 2, -1, 1, 1};  // [2, 3]
  const std::vector<float> bias{10, 20}, residual{100, 200};
  std::vector<float> y(2);
  const WeightMatrix matrix{Storage::f32, weight.data(), 3, 2, bias.data(), residual.data(), y.data(), 2};
  ref::weight_product({1, 3, x.data(), 3, {&matrix, 1}});
  EXPECT_CLOSE(y, (std::vector<float>{117, 224}), exact());
}

TEST(WeightProductChecks, RefusesStridesThatAreTooSmall) {
  base::ThreadPool pool(1);
  std::mt19937 random(1);
  WeightCase c{4, 6, {5}};
  WeightProblem problem(c, random);
  WeightProduct product = problem.product(c);
  product.x_stride = 5;
  EXPECT_THROW(weight_product(product, pool), base::Error);
  product = problem.product(c);
  problem.arguments[0].stride = 5;
  EXPECT_THROW(weight_product(product, pool), base::Error);
  product = problem.product(c);
  problem.arguments[0].y_stride = 4;
  EXPECT_THROW(weight_product(product, pool), base::Error);
}

}  // namespace
}  // namespace incontext::kernels

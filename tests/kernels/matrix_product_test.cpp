#include "kernels/matrix_product.h"

#include <gtest/gtest.h>

#include <bit>
#include <tuple>

#include "base/error.h"
#include "kernels/cpu/bf16_tiles.h"
#include "kernels/inputs.h"
#include "support/close.h"

namespace incontext::kernels {
namespace {

using testing::accumulated;
using testing::exact;
using testing::Tolerance;

struct Case {
  int64_t rows, columns, depth;
  bool transpose_a = false, transpose_b = false;
  bool accumulate = false, bias = false, residual = false, preactivation = false;
  Activation activation = Activation::none;
  bool gradient = false;
  Precision precision = Precision::f32;
  bool integers = false;
  int64_t padding = 3, offset = 1;
};

std::string describe(const Case& c) {
  return fmt::format(
      "{}x{}x{} ta {} tb {} accumulate {} bias {} residual {} pre {} act {} gradient {} bf16 {} padding {}", c.rows,
      c.columns, c.depth, c.transpose_a, c.transpose_b, c.accumulate, c.bias, c.residual, c.preactivation,
      static_cast<int>(c.activation), c.gradient, c.precision == Precision::bf16, c.padding);
}

/// The tensors of one case; copies of it start from the same values.
struct Problem {
  Matrix a, b, c, pre, residual, bias;

  Problem(const Case& k, std::mt19937& random)
      : a(k.transpose_a ? k.depth : k.rows, k.transpose_a ? k.rows : k.depth, k.padding, k.offset),
        b(k.transpose_b ? k.columns : k.depth, k.transpose_b ? k.depth : k.columns, k.padding, k.offset),
        c(k.rows, k.columns, k.padding, k.offset),
        pre(k.rows, k.columns, k.padding, k.offset),
        residual(k.rows, k.columns, k.padding, k.offset),
        bias(1, k.columns, 0, k.offset) {
    for (Matrix* m : {&a, &b, &c, &pre, &residual, &bias}) k.integers ? m->fill_exact(random) : m->fill(random);
    // Without accumulation what C held must not matter.
    if (!k.accumulate) {
      for (int64_t i = 0; i < k.rows; ++i) std::fill_n(&c.at(i, 0), k.columns, kNaN);
    }
  }

  MatrixProduct arguments(const Case& k) {
    MatrixProduct p;
    p.rows = k.rows, p.columns = k.columns, p.depth = k.depth;
    p.a = a.data(), p.a_stride = a.stride(), p.transpose_a = k.transpose_a;
    p.b = b.data(), p.b_stride = b.stride(), p.transpose_b = k.transpose_b;
    p.c = c.data(), p.c_stride = c.stride(), p.accumulate = k.accumulate;
    if (k.bias) p.epilogue.bias = bias.data();
    if (k.residual) p.epilogue.residual = residual.data();
    if (k.preactivation) p.epilogue.preactivation = pre.data();
    p.epilogue.activation = k.activation;
    p.epilogue.activation_gradient = k.gradient;
    return p;
  }
};

void expect_matches_reference(const Case& k, std::mt19937& random, base::ThreadPool& pool, TileStrip strip = nullptr) {
  SCOPED_TRACE(describe(k));
  Problem fast(k, random);
  Problem slow = fast;
  if (strip == nullptr) {
    matrix_product(fast.arguments(k), k.precision, pool);
  } else {
    matrix_product_on_tiles(fast.arguments(k), strip, pool);
  }
  ref::matrix_product(slow.arguments(k), k.precision);
  const bool exactly = k.integers && k.activation != Activation::gelu_tanh;
  const Tolerance tolerance = exactly
                                  ? exact()
                                  : Tolerance{accumulated(testing::kEpsilonF32, static_cast<std::size_t>(k.depth) + 3,
                                                          static_cast<double>(k.depth) / 4 + 3)
                                                      .absolute +
                                                  2e-6,
                                              4e-7};
  EXPECT_CLOSE(fast.c.values(), slow.c.values(), tolerance);
  EXPECT_CLOSE(fast.pre.values(), slow.pre.values(), tolerance);
  EXPECT_TRUE(fast.c.padding_is_untouched());
  EXPECT_TRUE(fast.pre.padding_is_untouched());
}

class MatrixProductTest : public EveryInstructionSet {
 protected:
  base::ThreadPool pool_{2};
};
INCONTEXT_EVERY_INSTRUCTION_SET(MatrixProductTest);

TEST_P(MatrixProductTest, SweepsShapesAroundTheTile) {
  const std::vector<int64_t> rows{1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 25, 61};
  const std::vector<int64_t> columns{1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 49};
  const std::vector<int64_t> depths{0, 1, 2, 3, 4, 5, 17};
  int count = 0;
  for (const int64_t m : rows) {
    for (const int64_t n : columns) {
      for (const int64_t k : depths) {
        Case c{m, n, k};
        c.integers = true;
        c.transpose_a = (count & 1) != 0;
        c.transpose_b = (count & 2) != 0;
        c.padding = count % 5;
        c.offset = count % 3;
        count += 3 + count % 7;  // every combination of the above comes up
        expect_matches_reference(c, random_, pool_);
      }
    }
  }
}

TEST_P(MatrixProductTest, TakesEveryEpilogue) {
  for (int bits = 0; bits < 64; ++bits) {
    for (const Activation activation : {Activation::none, Activation::relu, Activation::gelu_tanh}) {
      for (const int64_t columns : {32, 35}) {
        Case c{13, columns, 9};
        c.transpose_b = (bits & 1) != 0;
        c.accumulate = (bits & 2) != 0;
        c.bias = (bits & 4) != 0;
        c.residual = (bits & 8) != 0;
        c.gradient = (bits & 16) != 0;
        c.preactivation = (bits & 32) != 0 || c.gradient;
        c.activation = activation;
        expect_matches_reference(c, random_, pool_);
        c.integers = true;
        expect_matches_reference(c, random_, pool_);
      }
    }
  }
}

TEST_P(MatrixProductTest, CutsDepthRowsAndColumns) {
  struct Shape {
    int64_t m, n, k;
  };
  for (const Shape& s : {Shape{30, 40, 700}, Shape{200, 230, 330}, Shape{7, 400, 650}, Shape{400, 20, 5}}) {
    for (int bits = 0; bits < 8; ++bits) {
      Case c{s.m, s.n, s.k};
      c.transpose_a = (bits & 1) != 0;
      c.transpose_b = (bits & 2) != 0;
      c.accumulate = (bits & 4) != 0;
      c.integers = bits % 3 != 0;
      c.bias = c.residual = c.preactivation = true;
      c.activation = bits % 2 == 0 ? Activation::gelu_tanh : Activation::relu;
      expect_matches_reference(c, random_, pool_);
    }
  }
}

TEST_P(MatrixProductTest, SumsAWeightGradientInChunks) {
  for (const int64_t rows : {6, 64, 70}) {
    Case c{rows, 36, 2600};
    c.transpose_a = true;
    c.accumulate = rows == 64;
    c.bias = c.residual = rows == 70;
    expect_matches_reference(c, random_, pool_);
    c.integers = true;
    expect_matches_reference(c, random_, pool_);
  }
}

TEST_P(MatrixProductTest, RoundsFactorsToBf16) {
  for (const bool transpose : {false, true}) {
    for (const int64_t depth : {1, 2, 3, 31, 32, 33, 65, 400}) {
      Case c{19, 37, depth};
      c.transpose_a = transpose;
      c.transpose_b = depth % 2 == 0;
      c.bias = true;
      c.precision = Precision::bf16;
      expect_matches_reference(c, random_, pool_);
    }
  }
}

/// What surrounds the tiles of AMX, on a unit in plain C++, and on the real one where there is one.
TEST_P(MatrixProductTest, MultipliesOnTiles) {
  std::vector<TileStrip> strips{&multiply_tile_strip<PlainTiles>};
  if (amx_tile_strip() != nullptr) strips.push_back(amx_tile_strip());
  struct Shape {
    int64_t m, n, k;
  };
  for (const TileStrip strip : strips) {
    for (const Shape& s : {Shape{1, 1, 1}, Shape{5, 7, 0}, Shape{16, 16, 32}, Shape{17, 15, 31}, Shape{31, 33, 33},
                           Shape{32, 32, 64}, Shape{33, 31, 65}, Shape{70, 100, 130}, Shape{20, 40, 2000}}) {
      for (int bits = 0; bits < 8; ++bits) {
        Case c{s.m, s.n, s.k};
        c.transpose_a = (bits & 1) != 0;
        c.transpose_b = (bits & 2) != 0;
        c.accumulate = (bits & 4) != 0;
        c.bias = c.residual = bits % 3 == 0;
        c.activation = bits % 3 == 1 ? Activation::gelu_tanh : Activation::none;
        c.preactivation = bits % 3 == 1;
        c.precision = Precision::bf16;
        for (const bool integers : {false, true}) {
          c.integers = integers;
          expect_matches_reference(c, random_, pool_, strip);
        }
      }
    }
  }
}

TEST_P(MatrixProductTest, TilesShowNaNAndRoundToEven) {
  // 1 + 2^-8 rounds to 1 and 1 + 3 * 2^-8 to 1 + 2^-6; the largest float rounds to infinity.
  const float values[3] = {1.00390625F, 1.01171875F, 3.4e38F};
  const float one = 1;
  float out[3] = {};
  MatrixProduct p;
  p.rows = 3, p.columns = 1, p.depth = 1;
  p.a = values, p.a_stride = 1, p.b = &one, p.b_stride = 1, p.c = out, p.c_stride = 1;
  matrix_product_on_tiles(p, &multiply_tile_strip<PlainTiles>, pool_);
  EXPECT_EQ(out[0], 1.0F);
  EXPECT_EQ(out[1], 1.015625F);
  EXPECT_TRUE(std::isinf(out[2]));
  p.b = &kNaN;
  matrix_product_on_tiles(p, &multiply_tile_strip<PlainTiles>, pool_);
  EXPECT_TRUE(std::isnan(out[0]));
}

TEST_P(MatrixProductTest, ResidualMayBeTheResultItself) {
  for (const Activation activation : {Activation::none, Activation::gelu_tanh}) {
    for (const bool accumulate : {false, true}) {
      Case c{30, 33, 700};
      c.activation = activation;
      c.accumulate = true;  // fills C
      Problem fast(c, random_);
      Problem slow = fast;
      MatrixProduct p = fast.arguments(c);
      MatrixProduct q = slow.arguments(c);
      p.accumulate = q.accumulate = accumulate;
      p.epilogue.residual = p.c;
      q.epilogue.residual = q.c;
      matrix_product(p, Precision::f32, pool_);
      ref::matrix_product(q, Precision::f32);
      EXPECT_CLOSE(fast.c.values(), slow.c.values(), accumulated(testing::kEpsilonF32, 700, 300));
    }
  }
}

TEST_P(MatrixProductTest, GeluIsAccurateEverywhere) {
  // 1 x n products with a factor of 1: C = gelu(B), and with the gradient epilogue gelu'(B).
  Matrix b(1, 40001);
  for (int64_t j = 0; j < b.columns(); ++j) b.at(0, j) = static_cast<float>(j - 20000) / 1000;
  b.at(0, 0) = -1e30F, b.at(0, 40000) = 1e30F;
  const float one = 1;
  for (const bool gradient : {false, true}) {
    Matrix fast(1, b.columns()), slow(1, b.columns()), fast_pre = b, slow_pre = b, ones = b;
    for (int64_t j = 0; j < b.columns(); ++j) ones.at(0, j) = 1;
    MatrixProduct p;
    p.rows = 1, p.columns = b.columns(), p.depth = 1;
    p.a = &one, p.a_stride = 1;
    p.b = gradient ? ones.data() : b.data(), p.b_stride = p.c_stride = b.columns();
    p.epilogue.activation = Activation::gelu_tanh;
    p.epilogue.activation_gradient = gradient;
    MatrixProduct q = p;
    p.c = fast.data(), p.epilogue.preactivation = fast_pre.data();
    q.c = slow.data(), q.epilogue.preactivation = slow_pre.data();
    matrix_product(p, Precision::f32, pool_);
    ref::matrix_product(q, Precision::f32);
    // Of magnitudes up to 20 a float keeps 1e-6; the last element is 1e30 and compared relatively.
    const Tolerance tolerance{.absolute = 2e-6, .relative = 2 * testing::kEpsilonF32};
    EXPECT_CLOSE(fast.values(), slow.values(), tolerance);
    EXPECT_CLOSE(fast_pre.values(), slow_pre.values(), tolerance);
  }
}

TEST_P(MatrixProductTest, ShowsNaN) {
  for (const Activation activation : {Activation::none, Activation::relu, Activation::gelu_tanh}) {
    for (const Precision precision : {Precision::f32, Precision::bf16}) {
      Case c{7, 20, 5};
      c.activation = activation;
      Problem problem(c, random_);
      problem.a.at(3, 2) = kNaN;
      matrix_product(problem.arguments(c), precision, pool_);
      for (int64_t i = 0; i < 7; ++i) EXPECT_EQ(std::isnan(problem.c.at(i, 11)), i == 3);
    }
  }
}

TEST_P(MatrixProductTest, BitsDoNotDependOnThreads) {
  for (const bool weight_gradient : {false, true}) {
    Case c{weight_gradient ? 70 : 700, 100, weight_gradient ? 2000 : 400};
    c.transpose_a = weight_gradient;
    c.activation = Activation::gelu_tanh;
    Problem first(c, random_);
    std::vector<std::vector<float>> results;
    for (const int threads : {1, 2, 3, 5}) {
      base::ThreadPool pool(threads);
      Problem problem = first;
      matrix_product(problem.arguments(c), Precision::f32, pool);
      results.push_back(problem.c.values());
    }
    for (std::size_t i = 1; i < results.size(); ++i) EXPECT_CLOSE(results[i], results[0], exact());
  }
}

TEST_P(MatrixProductTest, BitsOfARowDoNotDependOnTheOtherRows) {
  for (const bool transpose_b : {false, true}) {
    Case c{300, 70, 500};
    c.transpose_b = transpose_b;
    Problem all(c, random_);
    matrix_product(all.arguments(c), Precision::f32, pool_);
    for (const int64_t rows : {1, 3, 20, 100}) {
      Problem some(c, random_);
      some.a = all.a;
      some.b = all.b;
      MatrixProduct p = some.arguments(c);
      p.rows = rows;
      matrix_product(p, Precision::f32, pool_);
      std::vector<float> expected = all.c.values();
      std::vector<float> actual = some.c.values();
      expected.resize(static_cast<std::size_t>(rows * 70));
      actual.resize(expected.size());
      EXPECT_CLOSE(actual, expected, exact());
    }
  }
}

TEST_P(MatrixProductTest, AcceptsEmptyExtents) {
  Case c{0, 5, 4};
  expect_matches_reference(c, random_, pool_);
  c = {5, 0, 4};
  expect_matches_reference(c, random_, pool_);
  for (const bool transpose_a : {false, true}) {
    c = {5, 20, 0};
    c.transpose_a = transpose_a;
    c.bias = true;
    c.activation = Activation::relu;
    expect_matches_reference(c, random_, pool_);
  }
}

TEST_P(MatrixProductTest, RefusesStridesThatAreTooSmall) {
  Case c{4, 5, 6};
  Problem problem(c, random_);
  MatrixProduct p = problem.arguments(c);
  p.a_stride = 5;
  EXPECT_THROW(matrix_product(p, Precision::f32, pool_), base::Error);
}

TEST_P(MatrixProductTest, ColumnSums) {
  for (const int64_t rows : {0, 1, 2, 3, 255, 256, 257, 1000}) {
    for (const int64_t columns : {1, 7, 8, 9, 16, 33}) {
      for (const bool accumulate : {false, true}) {
        Matrix x(rows, columns, 3, 1);
        x.fill_exact(random_);
        Matrix fast(1, columns, 0, 1);
        fast.fill_exact(random_);
        Matrix slow = fast;
        column_sums(rows, columns, x.data(), x.stride(), fast.data(), accumulate, pool_);
        ref::column_sums(rows, columns, x.data(), x.stride(), slow.data(), accumulate);
        EXPECT_CLOSE(fast.values(), slow.values(), exact());
        EXPECT_TRUE(fast.padding_is_untouched());
      }
    }
  }
}

TEST(MatrixProductReference, RoundsToNearestEven) {
  // 1 + 2^-8 lies between two bf16 values, 1 and 1 + 2^-7: the even one is 1; 1 + 3 * 2^-8 goes up to 1 + 2^-6.
  const std::vector<std::pair<float, float>> cases{
      {1.00390625F, 1.0F}, {1.01171875F, 1.015625F}, {1.0039064F, 1.0078125F}, {-1.00390625F, -1.0F}, {0.0F, 0.0F}};
  for (const auto& [value, expected] : cases) {
    const float one = 1;
    float out = kNaN;
    MatrixProduct p{.rows = 1,
                    .columns = 1,
                    .depth = 1,
                    .a = &value,
                    .a_stride = 1,
                    .b = &one,
                    .b_stride = 1,
                    .c = &out,
                    .c_stride = 1};
    ref::matrix_product(p, Precision::bf16);
    EXPECT_EQ(out, expected) << value;
  }
}

TEST(MatrixProductReference, GeluDerivativeIsTheSlopeOfGelu) {
  // Central differences of the forward epilogue, which works in double but returns floats: step 1/64.
  for (float x = -4; x <= 4; x += 0.25F) {
    const auto gelu = [](float at) {
      const float one = 1;
      float out = 0;
      MatrixProduct p{.rows = 1,
                      .columns = 1,
                      .depth = 1,
                      .a = &at,
                      .a_stride = 1,
                      .b = &one,
                      .b_stride = 1,
                      .c = &out,
                      .c_stride = 1};
      p.epilogue.activation = Activation::gelu_tanh;
      ref::matrix_product(p, Precision::f32);
      return static_cast<double>(out);
    };
    const double slope = (gelu(x + 0.015625F) - gelu(x - 0.015625F)) * 32;
    const float one = 1;
    float pre = x;
    float out = 0;
    MatrixProduct p{.rows = 1,
                    .columns = 1,
                    .depth = 1,
                    .a = &one,
                    .a_stride = 1,
                    .b = &one,
                    .b_stride = 1,
                    .c = &out,
                    .c_stride = 1};
    p.epilogue = {.activation = Activation::gelu_tanh, .preactivation = &pre, .activation_gradient = true};
    ref::matrix_product(p, Precision::f32);
    EXPECT_NEAR(static_cast<double>(out), slope, 1e-4) << x;
    EXPECT_NEAR(static_cast<double>(pre), gelu(x), 1e-7);
  }
}

}  // namespace
}  // namespace incontext::kernels

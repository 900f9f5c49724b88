#include "kernels/matrix_product.h"

#include <gtest/gtest.h>

#include <bit>
#include <tuple>

#include "base/error.h"
#include "kernels/inputs.h"
#include "kernels/product_case.h"
#include "support/close.h"

namespace incontext::kernels {
namespace {

using testing::accumulated;
using testing::exact;
using testing::Tolerance;

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

TEST_P(MatrixProductTest, AChainIsTwoProducts) {
  for (const Precision precision : {Precision::f32, Precision::bf16}) {
    for (const int64_t rows : {0, 1, 48, 49, 97, 200, 450}) expect_mlp_chains(rows, 20, 70, precision, random_, pool_);
    expect_mlp_chains(101, 33, 1000, precision, random_,
                      pool_);  // more columns than one block, a depth of three passes
    expect_mlp_chains(64, 400, 32, precision, random_, pool_);
  }
}

TEST_P(MatrixProductTest, AChainTakesAnyFactors) {
  Case first{100, 40, 30}, second{100, 50, 40};
  first.residual = second.accumulate = true;
  first.padding = 0;
  for (int bits = 0; bits < 8; ++bits) {
    const auto storage = [bits](int bit) { return (bits & bit) != 0 ? Storage::bf16 : Storage::f32; };
    first.a = storage(1), first.b = storage(2), second.b = storage(4);
    for (const Precision precision : {Precision::f32, Precision::bf16}) {
      first.precision = second.precision = precision;
      first.c = precision == Precision::bf16 ? Storage::bf16 : Storage::f32;
      expect_chain_is_two_products(first, second, true, random_, pool_);
      first.residual = false;  // it would have the stride of what is not there
      expect_chain_is_two_products(first, second, false, random_, pool_);
      first.residual = true;
    }
  }
}

TEST_P(MatrixProductTest, AChainRefusesProductsThatDoNotMeet) {
  Case first{4, 5, 3}, second{4, 2, 5};
  Problem from(first, random_), to(second, random_);
  const MatrixProduct one = from.arguments(first);
  MatrixProduct two = to.arguments(second);
  two.a_stride = one.c_stride;
  for (int64_t MatrixProduct::*extent : {&MatrixProduct::rows, &MatrixProduct::depth, &MatrixProduct::a_stride}) {
    MatrixProduct wrong = two;
    ++(wrong.*extent);
    EXPECT_THROW(matrix_product_chain(one, wrong, Precision::f32, pool_), base::Error);
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

TEST_P(MatrixProductTest, ReadsAndWritesBf16) {
  struct Shape {
    int64_t m, n, k;
  };
  for (const Shape& s :
       {Shape{1, 1, 1}, Shape{13, 35, 9}, Shape{64, 96, 128}, Shape{70, 100, 130}, Shape{36, 40, 900}}) {
    for (int bits = 0; bits < 64; ++bits) {
      Case c{s.m, s.n, s.k};
      c.transpose_a = (bits & 1) != 0;
      c.transpose_b = (bits & 2) != 0;
      c.a = (bits & 4) != 0 ? Storage::bf16 : Storage::f32;
      c.b = (bits & 8) != 0 ? Storage::bf16 : Storage::f32;
      c.c = (bits & 16) != 0 ? Storage::bf16 : Storage::f32;
      c.pre = (bits & 32) != 0 ? Storage::bf16 : Storage::f32;
      c.bias = c.residual = c.preactivation = bits % 3 != 0;
      c.activation = bits % 3 == 0 ? Activation::none : bits % 3 == 1 ? Activation::relu : Activation::gelu_tanh;
      c.gradient = bits % 3 != 0 && bits % 5 == 0;
      c.accumulate = bits % 7 == 0;
      c.precision = bits % 11 == 0 ? Precision::f32 : Precision::bf16;
      c.padding = bits % 4, c.offset = bits % 2;
      expect_matches_reference(c, random_, pool_);
      c.integers = true;
      expect_matches_reference(c, random_, pool_);
    }
  }
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
      p.epilogue.residual = p.c.f32();
      q.epilogue.residual = q.c.f32();
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
      problem.a.set(3, 2, kNaN);
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

}  // namespace
}  // namespace incontext::kernels

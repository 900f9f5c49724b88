#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "kernels/cpu/bf16_tiles.h"
#include "kernels/inputs.h"
#include "kernels/matrix_product.h"
#include "kernels/stored.h"
#include "support/close.h"

namespace incontext::kernels {

/// One matrix product to be compared with its definition.
struct Case {
  int64_t rows, columns, depth;
  bool transpose_a = false, transpose_b = false;
  bool accumulate = false, bias = false, residual = false, preactivation = false;
  Activation activation = Activation::none;
  bool gradient = false;
  Precision precision = Precision::f32;
  bool integers = false;
  int64_t padding = 3, offset = 1;
  Storage a = Storage::f32, b = Storage::f32, c = Storage::f32, pre = Storage::f32;
};

inline std::string describe(const Case& c) {
  return fmt::format(
      "{}x{}x{} ta {} tb {} accumulate {} bias {} residual {} pre {} act {} gradient {} bf16 {} padding {} stored "
      "{}{}{}{}",
      c.rows, c.columns, c.depth, c.transpose_a, c.transpose_b, c.accumulate, c.bias, c.residual, c.preactivation,
      static_cast<int>(c.activation), c.gradient, c.precision == Precision::bf16, c.padding, static_cast<int>(c.a),
      static_cast<int>(c.b), static_cast<int>(c.c), static_cast<int>(c.pre));
}

/// The tensors of one case; copies of it start from the same values.
struct Problem {
  StoredMatrix a, b, c, pre;
  Matrix residual, bias, left_sums;

  Problem(const Case& k, std::mt19937& random)
      : a(k.a, k.transpose_a ? k.depth : k.rows, k.transpose_a ? k.rows : k.depth, k.padding, k.offset),
        b(k.b, k.transpose_b ? k.columns : k.depth, k.transpose_b ? k.depth : k.columns, k.padding, k.offset),
        c(k.c, k.rows, k.columns, k.padding, k.offset),
        pre(k.pre, k.rows, k.columns, k.padding, k.offset),
        residual(k.rows, k.columns, k.padding, k.offset),
        bias(1, k.columns, 0, k.offset),
        left_sums(1, k.rows, 0, k.offset) {
    for (StoredMatrix* m : {&a, &b, &c, &pre}) k.integers ? m->fill_exact(random) : m->fill(random);
    for (Matrix* m : {&residual, &bias}) k.integers ? m->fill_exact(random) : m->fill(random);
    // Without accumulation what C held must not matter.
    if (!k.accumulate) {
      for (int64_t i = 0; i < k.rows; ++i) {
        for (int64_t j = 0; j < k.columns; ++j) c.set(i, j, kNaN);
      }
    }
  }

  MatrixProduct arguments(const Case& k) {
    MatrixProduct p;
    p.rows = k.rows, p.columns = k.columns, p.depth = k.depth;
    p.a = a.array(), p.a_stride = a.stride(), p.transpose_a = k.transpose_a;
    p.b = b.array(), p.b_stride = b.stride(), p.transpose_b = k.transpose_b;
    p.c = c.array(), p.c_stride = c.stride(), p.accumulate = k.accumulate;
    if (k.bias) p.epilogue.bias = bias.data();
    if (k.residual) p.epilogue.residual = residual.data();
    if (k.preactivation) p.epilogue.preactivation = pre.array();
    p.epilogue.activation = k.activation;
    p.epilogue.activation_gradient = k.gradient;
    if (k.transpose_a) p.left_sums = left_sums.data();
    return p;
  }
};

inline void expect_matches_reference(const Case& k, std::mt19937& random, base::ThreadPool& pool,
                                     TileStrip strip = nullptr) {
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
  const testing::Tolerance tolerance =
      exactly ? testing::exact()
              : testing::Tolerance{testing::accumulated(testing::kEpsilonF32, static_cast<std::size_t>(k.depth) + 3,
                                                        static_cast<double>(k.depth) / 4 + 3)
                                           .absolute +
                                       2e-6,
                                   4e-7};
  // Two sums that are all but equal may round to neighbours in bf16.
  const auto rounded = [&](Storage storage) {
    return testing::Tolerance{tolerance.absolute, storage == Storage::bf16 && !exactly ? 0x1p-7 : tolerance.relative};
  };
  EXPECT_CLOSE(fast.c.values(), slow.c.values(), rounded(k.c));
  EXPECT_CLOSE(fast.pre.values(), slow.pre.values(), rounded(k.pre));
  if (k.transpose_a) EXPECT_CLOSE(fast.left_sums.values(), slow.left_sums.values(), tolerance);
  EXPECT_TRUE(fast.left_sums.padding_is_untouched());
  EXPECT_TRUE(fast.c.padding_is_untouched());
  EXPECT_TRUE(fast.pre.padding_is_untouched());
}

/// A chain of two products, with what lies between kept or not, has the bits of the two.
inline void expect_chain_is_two_products(const Case& first, const Case& second, bool kept, std::mt19937& random,
                                         base::ThreadPool& pool, TileStrip strip = nullptr) {
  SCOPED_TRACE(fmt::format("{}; {}; kept {}", describe(first), describe(second), kept));
  Problem from(first, random), to(second, random);
  Problem from_apart = from, to_apart = to;
  const auto multiply = [&](const MatrixProduct& p) {
    strip == nullptr ? matrix_product(p, first.precision, pool) : matrix_product_on_tiles(p, strip, pool);
  };
  const MatrixProduct one = from_apart.arguments(first);
  MatrixProduct two = to_apart.arguments(second);
  two.a = one.c, two.a_stride = one.c_stride;
  multiply(one);
  multiply(two);
  MatrixProduct chained = from.arguments(first), last = to.arguments(second);
  if (!kept) chained.c = nullptr;
  last.a = nullptr, last.a_stride = chained.c_stride;
  if (strip == nullptr) {
    matrix_product_chain(chained, last, first.precision, pool);
  } else {
    matrix_product_chain_on_tiles(chained, last, strip, pool);
  }
  EXPECT_CLOSE(to.c.values(), to_apart.c.values(), testing::exact());
  EXPECT_CLOSE(from.pre.values(), from_apart.pre.values(), testing::exact());
  if (kept) EXPECT_CLOSE(from.c.values(), from_apart.c.values(), testing::exact());
  EXPECT_TRUE(from.c.padding_is_untouched());
  EXPECT_TRUE(to.c.padding_is_untouched());
  EXPECT_TRUE(from.pre.padding_is_untouched());
}

/// The two products of an MLP, forward or back, `rows` of them.
inline void expect_mlp_chains(int64_t rows, int64_t width, int64_t hidden, Precision precision, std::mt19937& random,
                              base::ThreadPool& pool, TileStrip strip = nullptr) {
  for (const bool back : {false, true}) {
    Case first{rows, hidden, width}, second{rows, width, hidden};
    first.precision = second.precision = precision;
    first.activation = Activation::gelu_tanh;
    first.preactivation = true;
    first.gradient = back;
    first.transpose_b = second.transpose_b = !back;
    first.bias = second.bias = second.residual = !back;
    if (precision == Precision::bf16) first.a = first.c = first.pre = Storage::bf16;
    for (const bool kept : {false, true}) expect_chain_is_two_products(first, second, kept, random, pool, strip);
  }
}

}  // namespace incontext::kernels

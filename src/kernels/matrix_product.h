#pragma once

#include <cstdint>

#include "base/threads.h"
#include "kernels/array.h"
#include "kernels/precision.h"

namespace incontext::kernels {

enum class Activation { none, relu, gelu_tanh };

/// What happens to each element of a product, in registers, before it is stored. In this order:
///   value = (A·B)[i, j] (+ C[i, j] when accumulate) (+ bias[j])
///   if activation_gradient:  value *= act'(preactivation[i, j]);  preactivation[i, j] = act(preactivation[i, j])
///   else if activation:      preactivation[i, j] = value (when the pointer is not null);  value = act(value)
///   value += residual[i, j] (when the pointer is not null)
///   C[i, j] = value
/// preactivation and residual have the row stride of C.
struct Epilogue {
  const float* bias = nullptr;      // [columns]
  const float* residual = nullptr;  // [rows, columns]; may be C itself
  Activation activation = Activation::none;
  Array preactivation = nullptr;  // [rows, columns]
  bool activation_gradient = false;
};

/// C = A·B with A [rows, depth] and B [depth, columns], all row-major with a stride between rows, each in fp32 or bf16;
/// with transpose_a the memory of A is [depth, rows], with transpose_b that of B is [columns, depth].
/// The three products of a linear layer y = x·Wᵀ + b (W [out, in]) are
///   forward   y  = x·Wᵀ    transpose_b
///   input     dx = dy·W
///   weight    dW = dyᵀ·x   transpose_a
struct MatrixProduct {
  int64_t rows = 0, columns = 0, depth = 0;
  ConstArray a = nullptr;
  int64_t a_stride = 0;
  bool transpose_a = false;
  ConstArray b = nullptr;
  int64_t b_stride = 0;
  bool transpose_b = false;
  Array c = nullptr;
  int64_t c_stride = 0;
  bool accumulate = false;  // C += A·B
  Epilogue epilogue = {};
  /// [rows], or null; with transpose_a only. Overwritten with the sums of A over the depth, of unrounded values: with a
  /// gradient of weights comes that of the bias, while dy is at hand.
  float* left_sums = nullptr;
};

/// Any extent may be 0 (depth 0 gives zero products, the epilogue still applies). C must not overlap A or B.
/// The result does not depend on the number of threads.
void matrix_product(const MatrixProduct& product, Precision precision, base::ThreadPool& pool);

/// Two products, of which the second's left factor is the first's result: second.c = (first.c)·second.b with both
/// epilogues. second.a is not read; second.a_stride is first.c_stride. first.c may be null: what lies between is then
/// not kept, and in bf16 handed on in bf16. Some rows are multiplied by both factors before the next, while they lie in
/// the cache. The same bits as from two products.
void matrix_product_chain(const MatrixProduct& first, const MatrixProduct& second, Precision precision,
                          base::ThreadPool& pool);

/// The definitions: plain loops, double accumulation, one thread. With bf16 each factor is rounded to nearest even.
namespace ref {
void matrix_product(const MatrixProduct& product, Precision precision);
}  // namespace ref

}  // namespace incontext::kernels

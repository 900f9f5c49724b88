#pragma once

#include <cstdint>
#include <span>

#include "base/threads.h"
#include "kernels/precision.h"
#include "kernels/storage.h"

namespace incontext::kernels {

/// One weight of a linear layer, read where it lies: an array in its storage that need only be aligned as its elements
/// are, such as a tensor in a mapped file. Nothing outside of its rows is read.
struct WeightMatrix {
  Storage storage = Storage::f32;
  const void* weight = nullptr;     // [columns, depth]
  int64_t stride = 0;               // elements between rows
  int64_t columns = 0;              // outputs
  const float* bias = nullptr;      // [columns], or null
  const float* residual = nullptr;  // [rows, columns] with the row stride of y, or null; may be y itself
  float* y = nullptr;               // [rows, columns]
  int64_t y_stride = 0;
};

/// Y = X·Wᵀ (+ bias) (+ residual) for each of some weights and the same X: the linear layers of inference, from one
/// token to thousands. All weights are one parallel loop, so that queries, keys and values, or gate and up, cost one
/// start of the pool.
struct WeightProduct {
  int64_t rows = 0, depth = 0;
  const float* x = nullptr;  // [rows, depth]
  int64_t x_stride = 0;
  std::span<const WeightMatrix> matrices = {};
  /// bf16 rounds x, as most peers do whose activations are in bf16 (weights stay what they are stored as): weights in
  /// bf16 are then multiplied by instructions for bf16 where the processor has them, twice as fast.
  Precision precision = Precision::f32;
};

/// Any extent may be 0. No y may overlap x, a weight or another y.
/// The bits of y[i, j] depend on row i of X, row j of W, bias and residual and on the instruction set, and on nothing
/// else: neither on the other rows (so that a token's numbers are the same alone, in a batch and in a prompt), nor on
/// the other weights, nor on the number of threads. The order of its sum is, with L lanes per vector:
///   the depth is cut into blocks of 512; lane l of a block sums x[k] w[k] over k = l, l + L, l + 2L … by fused
///   multiply-adds (with bf16 weights over k = 2l, 2l + 1, 2l + 2L, 2l + 1 + 2L …), the lanes are added in one fixed
///   tree, the blocks are added in order; then + bias, then + residual.
/// AVX-512 BF16 (precision bf16, weights in bf16) cuts the depth into blocks of 1024, and lane l of 16 adds the pairs
/// k = 2l, 2l + 1, then 2l + 32, 2l + 33 …; AMX adds to one sum 32 k after the other, the even and the odd of each
/// summed apart. Both take denormals for 0.
void weight_product(const WeightProduct& product, base::ThreadPool& pool);

namespace ref {
void weight_product(const WeightProduct& product);
}  // namespace ref

}  // namespace incontext::kernels

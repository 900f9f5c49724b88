// What happens to the sums of a product before they are stored. Included once per instruction set.
#if defined(INCONTEXT_KERNELS_CPU_FINISH_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef INCONTEXT_KERNELS_CPU_FINISH_INL_H
#undef INCONTEXT_KERNELS_CPU_FINISH_INL_H
#else
#define INCONTEXT_KERNELS_CPU_FINISH_INL_H
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "base/threads.h"
#include "kernels/cpu/math-inl.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/tile-inl.h"
#include "kernels/matrix_product.h"

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// Where the sums of a tile go, and the part of the epilogue that applies. Pointers are those of its first element.
struct Output {
  float* c = nullptr;
  int64_t stride = 0;
  bool add = false;  // to what C holds
  const float* bias = nullptr;
  const float* residual = nullptr;
  float* preactivation = nullptr;
  Activation activation = Activation::none;
  bool gradient = false;

  void advance_rows(int64_t rows) {
    c += rows * stride;
    if (residual != nullptr) residual += rows * stride;
    if (preactivation != nullptr) preactivation += rows * stride;
  }

  void advance_columns(int64_t columns) {
    c += columns;
    if (bias != nullptr) bias += columns;
    if (residual != nullptr) residual += columns;
    if (preactivation != nullptr) preactivation += columns;
  }
};

/// The output of a pass over the whole product; `first` and `last` tell its place among the passes.
inline Output make_output(const MatrixProduct& p, bool first, bool last) {
  Output out;
  out.c = p.c;
  out.stride = p.c_stride;
  out.add = !first || p.accumulate;
  if (!last) return out;
  out.bias = p.epilogue.bias;
  out.residual = p.epilogue.residual;
  out.activation = p.epilogue.activation;
  out.gradient = p.epilogue.activation_gradient;
  if (out.activation != Activation::none) out.preactivation = p.epilogue.preactivation;
  return out;
}

/// Stores act(value), or value * act'(preactivation).
template <Activation kActivation, bool kGradient>
HWY_INLINE void FinishRowAs(const Output& out, const float* sums, int64_t columns) {
  ForEachVector(columns, [&](auto d, int64_t j) HWY_ATTR {
    auto value = hn::LoadU(d, sums + j);
    if (out.add) value = hn::Add(value, hn::LoadU(d, out.c + j));
    if (out.bias != nullptr) value = hn::Add(value, hn::LoadU(d, out.bias + j));
    if constexpr (kGradient) {
      const auto x = hn::LoadU(d, out.preactivation + j);
      auto activated = AtLeast(d, hn::Zero(d), x);
      if constexpr (kActivation == Activation::gelu_tanh) {
        auto derivative = x;
        activated = GeluWithDerivative(d, x, derivative);
        value = hn::Mul(value, derivative);
      } else {
        value = hn::IfThenElseZero(hn::Gt(x, hn::Zero(d)), value);
      }
      hn::StoreU(activated, d, out.preactivation + j);
    } else {
      if (out.preactivation != nullptr) hn::StoreU(value, d, out.preactivation + j);
      if constexpr (kActivation == Activation::relu) value = AtLeast(d, hn::Zero(d), value);
      if constexpr (kActivation == Activation::gelu_tanh) value = Gelu(d, value);
    }
    if (out.residual != nullptr) value = hn::Add(value, hn::LoadU(d, out.residual + j));
    hn::StoreU(value, d, out.c + j);
  });
}

/// Finishes a row of sums from memory.
HWY_NOINLINE inline void FinishRow(const Output& out, const float* sums, int64_t columns) {
  switch (out.activation) {
    case Activation::none:
      return FinishRowAs<Activation::none, false>(out, sums, columns);
    case Activation::relu:
      if (out.gradient) return FinishRowAs<Activation::relu, true>(out, sums, columns);
      return FinishRowAs<Activation::relu, false>(out, sums, columns);
    case Activation::gelu_tanh:
      if (out.gradient) return FinishRowAs<Activation::gelu_tanh, true>(out, sums, columns);
      return FinishRowAs<Activation::gelu_tanh, false>(out, sums, columns);
  }
}

/// Fetches what finishing the tile at column j will read or write.
inline void prefetch_tile(const Output& out, int64_t j, int64_t rows) {
  for (int64_t r = 0; r < rows; ++r) hwy::Prefetch(out.c + r * out.stride + j);
  if (out.preactivation != nullptr) {
    for (int64_t r = 0; r < rows; ++r) hwy::Prefetch(out.preactivation + r * out.stride + j);
  }
  if (out.residual != nullptr && out.residual != out.c) {
    for (int64_t r = 0; r < rows; ++r) hwy::Prefetch(out.residual + r * out.stride + j);
  }
}

/// Finishes the whole tile at column j in registers; there is no activation.
template <std::size_t kRows, std::size_t kVectors, class V>
HWY_INLINE void FinishTile(const Output& out, int64_t j, V (&tile)[kRows][kVectors]) {
  if (out.add) AddToTile(tile, out.c + j, out.stride);
  if (out.bias != nullptr) AddToTile(tile, out.bias + j, 0);
  if (out.residual != nullptr) AddToTile(tile, out.residual + j, out.stride);
  StoreTile(tile, out.c + j, out.stride);
}

/// Adds the partial results of all chunks in order and finishes.
inline void AddChunks(const MatrixProduct& p, int64_t chunks, const float* partial, base::ThreadPool& pool) {
  constexpr int64_t kRows = 8;
  const int64_t size = p.rows * p.columns;
  pool.run((p.rows + kRows - 1) / kRows, [&](int64_t piece, int) {
    float* sum = scratch(Scratch::extra, p.columns);
    for (int64_t i = piece * kRows; i < std::min(p.rows, (piece + 1) * kRows); ++i) {
      const float* row = partial + i * p.columns;
      ForEachVector(p.columns, [&](auto d, int64_t j) HWY_ATTR {
        auto total = hn::LoadU(d, row + j);
        for (int64_t c = 1; c < chunks; ++c) total = hn::Add(total, hn::LoadU(d, row + c * size + j));
        hn::StoreU(total, d, sum + j);
      });
      Output out = make_output(p, true, true);
      out.advance_rows(i);
      FinishRow(out, sum, p.columns);
    }
  });
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif

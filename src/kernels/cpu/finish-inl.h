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
#include "kernels/cpu/fetches.h"
#include "kernels/cpu/math-inl.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/storage-inl.h"
#include "kernels/cpu/tile-inl.h"
#include "kernels/matrix_product.h"

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// Where the sums of a tile go, and the part of the epilogue that applies. Pointers are those of its first element.
struct Output {
  Array c = nullptr;
  int64_t stride = 0;
  bool add = false;  // to what C holds
  const float* bias = nullptr;
  const float* residual = nullptr;
  Array preactivation = nullptr;
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

inline bool is_array(const Array& array, const float* data) { return !array.is_bf16() && array.f32() == data; }

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

/// How C and the preactivations are stored: whatever they lie in; or both in bf16, by StoreBf16ByInstruction.
enum class Stores { any, bf16_instruction };

template <Stores kStores, class D>
HWY_INLINE void StoreFinished(D d, hn::Vec<D> value, const Array& to, int64_t index) {
  if constexpr (kStores == Stores::bf16_instruction && hn::MaxLanes(D()) == kLanes) {
    StoreBf16ByInstruction(value, to.bf16() + index);
  } else {
    StoreTo(d, value, to, index);
  }
}

inline bool stores_by_instruction(const Output& out) {
  return out.c.is_bf16() && (out.preactivation == nullptr || out.preactivation.is_bf16()) && HasBf16Instruction();
}

/// Stores act(value), or value * act'(preactivation).
template <Activation kActivation, bool kGradient, Stores kStores>
HWY_INLINE void FinishRowAs(const Output out, const float* sums, int64_t columns) {
  ForEachVector(columns, [&](auto d, int64_t j) HWY_ATTR {
    auto value = hn::LoadU(d, sums + j);
    if (out.add) value = hn::Add(value, LoadFrom(d, out.c, j));
    if (out.bias != nullptr) value = hn::Add(value, hn::LoadU(d, out.bias + j));
    if constexpr (kGradient) {
      const auto x = LoadFrom(d, out.preactivation, j);
      auto activated = AtLeast(d, hn::Zero(d), x);
      if constexpr (kActivation == Activation::gelu_tanh) {
        auto derivative = x;
        activated = GeluWithDerivative(d, x, derivative);
        value = hn::Mul(value, derivative);
      } else {
        value = hn::IfThenElseZero(hn::Gt(x, hn::Zero(d)), value);
      }
      StoreFinished<kStores>(d, activated, out.preactivation, j);
    } else {
      if (out.preactivation != nullptr) StoreFinished<kStores>(d, value, out.preactivation, j);
      if constexpr (kActivation == Activation::relu) value = AtLeast(d, hn::Zero(d), value);
      if constexpr (kActivation == Activation::gelu_tanh) value = Gelu(d, value);
    }
    if (out.residual != nullptr) value = hn::Add(value, hn::LoadU(d, out.residual + j));
    StoreFinished<kStores>(d, value, out.c, j);
  });
}

template <Stores kStores>
HWY_NOINLINE void FinishRowBy(const Output& out, const float* sums, int64_t columns) {
  switch (out.activation) {
    case Activation::none:
      return FinishRowAs<Activation::none, false, kStores>(out, sums, columns);
    case Activation::relu:
      if (out.gradient) return FinishRowAs<Activation::relu, true, kStores>(out, sums, columns);
      return FinishRowAs<Activation::relu, false, kStores>(out, sums, columns);
    case Activation::gelu_tanh:
      if (out.gradient) return FinishRowAs<Activation::gelu_tanh, true, kStores>(out, sums, columns);
      return FinishRowAs<Activation::gelu_tanh, false, kStores>(out, sums, columns);
  }
}

/// Finishes a row of sums from memory.
inline void FinishRow(const Output& out, const float* sums, int64_t columns) {
  if (stores_by_instruction(out)) return FinishRowBy<Stores::bf16_instruction>(out, sums, columns);
  FinishRowBy<Stores::any>(out, sums, columns);
}

/// Fetches what finishing the tile at column j will read or write.
inline void prefetch_tile(const Output& out, int64_t j, int64_t rows) {
  const auto fetch = [&](const Array& array) {
    if (array.is_bf16()) {
      for (int64_t r = 0; r < rows; ++r) hwy::Prefetch(array.bf16() + r * out.stride + j);
    } else {
      for (int64_t r = 0; r < rows; ++r) hwy::Prefetch(array.f32() + r * out.stride + j);
    }
  };
  fetch(out.c);
  if (out.preactivation != nullptr) fetch(out.preactivation);
  if (out.residual != nullptr && !is_array(out.c, out.residual)) {
    for (int64_t r = 0; r < rows; ++r) hwy::Prefetch(out.residual + r * out.stride + j);
  }
}

/// What finishing a block of rows and columns will read or write.
inline void add_finished(const Output& out, int64_t rows, int64_t columns, Fetches& fetches) {
  const auto add = [&](const ConstArray& array) {
    const int64_t size = bytes_per_element(array.storage());
    fetches.add(array.data(), out.stride * size, columns * size, rows);
  };
  add(out.c);
  if (out.preactivation != nullptr) add(out.preactivation);
  if (out.residual != nullptr && !is_array(out.c, out.residual)) add(out.residual);
}

/// Finishes the whole tile at column j in registers; there is no activation, and C is fp32.
template <std::size_t kRows, std::size_t kVectors, class V>
HWY_INLINE void FinishTile(const Output& out, int64_t j, V (&tile)[kRows][kVectors]) {
  if (out.add) AddToTile(tile, out.c.f32() + j, out.stride);
  if (out.bias != nullptr) AddToTile(tile, out.bias + j, 0);
  if (out.residual != nullptr) AddToTile(tile, out.residual + j, out.stride);
  StoreTile(tile, out.c.f32() + j, out.stride);
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

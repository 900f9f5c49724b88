// What happens to the sums of a product before they are stored. Included once per instruction set.
#if defined(INCONTEXT_KERNELS_CPU_FINISH_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef INCONTEXT_KERNELS_CPU_FINISH_INL_H
#undef INCONTEXT_KERNELS_CPU_FINISH_INL_H
#else
#define INCONTEXT_KERNELS_CPU_FINISH_INL_H
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/math-inl.h"
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
HWY_NOINLINE void FinishRow(const Output& out, const float* sums, int64_t columns) {
  switch (out.activation) {
    case Activation::none: return FinishRowAs<Activation::none, false>(out, sums, columns);
    case Activation::relu:
      if (out.gradient) return FinishRowAs<Activation::relu, true>(out, sums, columns);
      return FinishRowAs<Activation::relu, false>(out, sums, columns);
    case Activation::gelu_tanh:
      if (out.gradient) return FinishRowAs<Activation::gelu_tanh, true>(out, sums, columns);
      return FinishRowAs<Activation::gelu_tanh, false>(out, sums, columns);
  }
}

/// Finishes a tile: in registers when there is no activation, else through a copy in the first-level cache.
template <std::size_t kRows, std::size_t kVectors, class V>
HWY_INLINE void FinishTile(const Output& out, int64_t rows, int64_t columns, V (&tile)[kRows][kVectors]) {
  const Full d;
  constexpr int64_t kWidth = static_cast<int64_t>(kVectors) * kLanes;
  const auto for_each = [&](auto* first, int64_t stride, const auto& work) HWY_ATTR {
#pragma GCC unroll 16
    for (std::size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
      for (std::size_t v = 0; v < kVectors; ++v) {
        work(tile[r][v], first + static_cast<int64_t>(r) * stride + static_cast<int64_t>(v) * kLanes);
      }
    }
  };
  const auto store = [&](const V& value, float* to) HWY_ATTR { hn::StoreU(value, d, to); };
  if (out.activation == Activation::none && rows == static_cast<int64_t>(kRows) && columns == kWidth) {
    const auto add = [&](V& value, const float* from) HWY_ATTR { value = hn::Add(value, hn::LoadU(d, from)); };
    if (out.add) for_each(out.c, out.stride, add);
    if (out.bias != nullptr) for_each(out.bias, 0, add);
    if (out.residual != nullptr) for_each(out.residual, out.stride, add);
    for_each(out.c, out.stride, store);
    return;
  }
  HWY_ALIGN float sums[kRows * kVectors * static_cast<std::size_t>(kLanes)];
  for_each(sums, kWidth, store);
  Output row = out;
  for (int64_t r = 0; r < rows; ++r) {
    FinishRow(row, sums + r * kWidth, columns);
    row.advance_rows(1);
  }
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif

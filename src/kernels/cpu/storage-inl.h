// Vectors from and to the three kinds of storage. Included once per instruction set.
#if defined(INCONTEXT_KERNELS_CPU_STORAGE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef INCONTEXT_KERNELS_CPU_STORAGE_INL_H
#undef INCONTEXT_KERNELS_CPU_STORAGE_INL_H
#else
#define INCONTEXT_KERNELS_CPU_STORAGE_INL_H
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/array.h"
#include "kernels/cpu/avx512_bf16.h"
#include "kernels/cpu/math-inl.h"
#include "kernels/storage.h"

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// What an array in this storage is an array of.
template <Storage kStorage>
using Element = std::conditional_t<kStorage == Storage::f32, float, uint16_t>;

/// Calls work(std::integral_constant<Storage, storage>()).
template <class Work>
HWY_INLINE void WithStorage(Storage storage, const Work& work) {
  switch (storage) {
    case Storage::f32:
      return work(std::integral_constant<Storage, Storage::f32>());
    case Storage::f16:
      return work(std::integral_constant<Storage, Storage::f16>());
    case Storage::bf16:
      return work(std::integral_constant<Storage, Storage::bf16>());
  }
}

template <class D, class V16>
HWY_INLINE hn::Vec<D> PromoteHalf(D d, V16 half) {
#if HWY_TARGET <= HWY_AVX2
  return hn::PromoteTo(d, hn::BitCast(hn::Rebind<hwy::float16_t, D>(), half));
#else
  const hn::RebindToUnsigned<D> du;
  const auto bits = hn::PromoteTo(du, half);
  const auto shifted = hn::ShiftLeft<13>(hn::And(bits, hn::Set(du, 0x7FFFU)));
  const auto finite = hn::BitCast(du, hn::Mul(hn::BitCast(d, shifted), hn::Set(d, 0x1.0p112F)));
  const auto top = hn::Set(du, 0x7C00U);
  const auto magnitude =
      hn::IfThenElse(hn::Eq(hn::And(bits, top), top), hn::Or(shifted, hn::Set(du, 0x7F800000U)), finite);
  return hn::BitCast(d, hn::Or(magnitude, hn::ShiftLeft<16>(hn::And(bits, hn::Set(du, 0x8000U)))));
#endif
}

/// A vector of fp32 from elements that need only be aligned as elements.
template <Storage kStorage, class D>
HWY_INLINE hn::Vec<D> LoadStored(D d, const Element<kStorage>* HWY_RESTRICT from) {
  if constexpr (kStorage == Storage::f32) {
    return hn::LoadU(d, from);
  } else {
    const auto half = hn::LoadU(hn::Rebind<uint16_t, D>(), from);
    if constexpr (kStorage == Storage::f16) {
      return PromoteHalf(d, half);
    } else {
      return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(hn::RebindToUnsigned<D>(), half)));
    }
  }
}

/// The depth of a product is walked in units of this many vectors. Two bf16 lie in one lane of 32 bits: the even
/// element is its lower half, the odd one its upper half, so that a shift and a mask make two vectors of fp32 of one
/// load, in half the instructions that widening them in their order takes. A unit of bf16 is thus a vector of its even
/// and one of its odd elements; what is multiplied with it is brought into the same order.
template <Storage kStorage>
constexpr int64_t kUnitVectors = kStorage == Storage::bf16 ? 2 : 1;
template <Storage kStorage>
constexpr int64_t kUnit = kUnitVectors<kStorage>* kLanes;

/// Vector v of the unit at `from`, whose elements are in their natural order, in the order of a unit of kLike.
template <Storage kStorage, Storage kLike = kStorage>
HWY_INLINE hn::Vec<Full> LoadUnitVector(const Element<kStorage>* HWY_RESTRICT from, int64_t v) {
  const Full d;
#if HWY_TARGET == HWY_SCALAR
  return LoadStored<kStorage>(d, from + v);
#else
  if constexpr (kUnitVectors<kLike> == 1) {
    return LoadStored<kStorage>(d, from);
  } else if constexpr (kStorage == Storage::bf16) {
    const hn::RebindToUnsigned<Full> du;
    const auto pairs = hn::BitCast(du, hn::LoadU(hn::Repartition<uint16_t, Full>(), from));
    return hn::BitCast(d, v == 0 ? hn::ShiftLeft<16>(pairs) : hn::And(pairs, hn::Set(du, 0xFFFF0000U)));
  } else {
    static_assert(kStorage == Storage::f32 && kLike == Storage::bf16);
    const auto low = hn::LoadU(d, from), high = hn::LoadU(d, from + kLanes);
    return v == 0 ? hn::ConcatEven(d, high, low) : hn::ConcatOdd(d, high, low);
  }
#endif
}

/// Keeps a loaded factor in a register. A compiler takes it from memory again for each multiply-add otherwise, and two
/// loads for each are more than a processor with loads of 128 bits can do.
template <class V>
HWY_INLINE void KeepInRegister([[maybe_unused]] V& v) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
  asm volatile("" : "+v"(v.raw));
#elif HWY_ARCH_X86 && HWY_TARGET <= HWY_SSE4
  asm volatile("" : "+x"(v.raw));
#endif
}

/// Both vectors of a unit, or the one, of one load.
template <Storage kStorage>
HWY_INLINE void LoadUnit(const Element<kStorage>* HWY_RESTRICT from, hn::Vec<Full>* out) {
#if HWY_TARGET != HWY_SCALAR
  if constexpr (kUnitVectors<kStorage> == 2) {
    const Full d;
    const hn::RebindToUnsigned<Full> du;
    auto pairs = hn::BitCast(du, hn::LoadU(hn::Repartition<uint16_t, Full>(), from));
    KeepInRegister(pairs);
    out[0] = hn::BitCast(d, hn::ShiftLeft<16>(pairs));
    out[1] = hn::BitCast(d, hn::And(pairs, hn::Set(du, 0xFFFF0000U)));
    return;
  }
#endif
  for (int64_t v = 0; v < kUnitVectors<kStorage>; ++v) out[v] = LoadUnitVector<kStorage>(from, v);
}

/// The same for the first `count` elements of a unit, less than all, and 0 for the others; nothing else is read, for a
/// weight may end where the file does.
template <Storage kStorage, Storage kLike = kStorage>
HWY_INLINE hn::Vec<Full> LoadUnitVectorPart(const Element<kStorage>* from, int64_t count, int64_t v) {
  HWY_ALIGN Element<kStorage> part[static_cast<std::size_t>(kUnit<kLike>)] = {};
  std::memcpy(part, from, static_cast<std::size_t>(count) * sizeof(Element<kStorage>));
  return LoadUnitVector<kStorage, kLike>(part, v);
}

/// A row as fp32 in the order of units of kLike, with 0 behind its end to fill the last unit. Vectors of `out` are
/// `step` floats apart.
template <Storage kStorage, Storage kLike = kStorage>
HWY_INLINE void ReadUnits(const Element<kStorage>* HWY_RESTRICT row, int64_t size, float* HWY_RESTRICT out,
                          int64_t step = kLanes) {
  const Full d;
  int64_t k = 0;
  for (; k + kUnit<kLike> <= size; k += kUnit<kLike>) {
#pragma GCC unroll 2
    for (int64_t v = 0; v < kUnitVectors<kLike>; ++v, out += step) {
      hn::StoreU(LoadUnitVector<kStorage, kLike>(row + k, v), d, out);
    }
  }
  if (k == size) return;
  for (int64_t v = 0; v < kUnitVectors<kLike>; ++v, out += step) {
    hn::StoreU(LoadUnitVectorPart<kStorage, kLike>(row + k, size - k, v), d, out);
  }
}

/// Where element i of a row is after ReadUnits.
template <Storage kLike>
HWY_INLINE int64_t PlaceInUnits(int64_t i) {
  const int64_t within = i % kUnit<kLike>;
  return i - within + within / kUnitVectors<kLike> + within % kUnitVectors<kLike> * kLanes;
}

/// Bits of the nearest halves, in the lower 16 of each lane.
template <class D>
HWY_INLINE hn::Vec<hn::RebindToUnsigned<D>> HalfBits(D d, hn::Vec<D> value) {
  const hn::RebindToUnsigned<D> du;
  const auto bits = hn::BitCast(du, value);
  const auto magnitude = hn::And(bits, hn::Set(du, 0x7FFFFFFFU));
  const auto odd = hn::And(hn::ShiftRight<13>(magnitude), hn::Set(du, 1U));
  const auto normal = hn::ShiftRight<13>(hn::Add(hn::Add(magnitude, odd), hn::Set(du, 0xFFFU - 0x38000000U)));
  const auto small =
      hn::Sub(hn::BitCast(du, hn::Add(hn::BitCast(d, magnitude), hn::Set(d, 0.5F))), hn::Set(du, 0x3F000000U));
  const auto nan = hn::Or(hn::Set(du, 0x7E00U), hn::And(hn::ShiftRight<13>(magnitude), hn::Set(du, 0x3FFU)));
  // Magnitudes have no sign, so that comparing them as signed integers, which SSE2 can do, is right.
  const hn::RebindToSigned<D> di;
  const auto order = hn::BitCast(di, magnitude);
  auto half = hn::IfThenElse(hn::RebindMask(du, hn::Lt(order, hn::Set(di, 0x38800000))), small, normal);
  half = hn::IfThenElse(hn::RebindMask(du, hn::Lt(order, hn::Set(di, 0x47800000))), half, hn::Set(du, 0x7C00U));
  half = hn::IfThenElse(hn::RebindMask(du, hn::Gt(order, hn::Set(di, 0x7F800000))), nan, half);
  return hn::Or(half, hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 0x8000U)));
}

/// Rounds to nearest even.
template <Storage kStorage, class D>
HWY_INLINE void StoreStored(D d, hn::Vec<D> value, Element<kStorage>* to) {
  if constexpr (kStorage == Storage::f32) {
    hn::StoreU(value, d, to);
  } else {
    const hn::Rebind<uint16_t, D> d16;
    const hn::RebindToSigned<D> di;
    if constexpr (kStorage == Storage::f16) {
#if HWY_TARGET <= HWY_AVX2
      hn::StoreU(hn::BitCast(d16, hn::DemoteTo(hn::Rebind<hwy::float16_t, D>(), value)), d16, to);
#else
      hn::StoreU(hn::DemoteTo(d16, hn::BitCast(di, HalfBits(d, value))), d16, to);
#endif
    } else {
      hn::StoreU(hn::DemoteTo(d16, hn::BitCast(di, hn::ShiftRight<16>(UpperBf16(d, value)))), d16, to);
    }
  }
}

/// The storage of an array of T, float or the bits of bf16.
template <class T>
constexpr Storage kStorageOf = std::is_same_v<T, float> ? Storage::f32 : Storage::bf16;

/// The elements from `index` on that a vector holds.
template <class D>
HWY_INLINE hn::Vec<D> LoadFrom(D d, const ConstArray& array, int64_t index) {
  return array.is_bf16() ? LoadStored<Storage::bf16>(d, array.bf16() + index) : hn::LoadU(d, array.f32() + index);
}

template <class D>
HWY_INLINE void StoreTo(D d, hn::Vec<D> value, const Array& array, int64_t index) {
  if (array.is_bf16()) {
    StoreStored<Storage::bf16>(d, value, array.bf16() + index);
  } else {
    hn::StoreU(value, d, array.f32() + index);
  }
}

/// Whether StoreBf16ByInstruction may be called.
HWY_INLINE bool HasBf16Instruction() {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
  return has_avx512_bf16();
#else
  return false;
#endif
}

/// Rounds and stores by VCVTNEPS2BF16 (AVX-512 BF16): one instruction for ten. Takes denormals for 0, as products of
/// bf16 do.
HWY_INLINE void StoreBf16ByInstruction(hn::Vec<Full> value, uint16_t* to) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
  __m256i bits;
  asm("vcvtneps2bf16 %1, %0" : "=v"(bits) : "v"(value.raw));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), bits);
#else
  StoreStored<Storage::bf16>(Full(), value, to);
#endif
}

template <Storage kStorage>
void ReadRow(const Element<kStorage>* row, int64_t size, float* HWY_RESTRICT out) {
  ForEachVector(size, [&](auto d, int64_t i) HWY_ATTR { hn::StoreU(LoadStored<kStorage>(d, row + i), d, out + i); });
}

template <Storage kStorage>
void WriteRow(const float* HWY_RESTRICT row, int64_t size, Element<kStorage>* out) {
  ForEachVector(size, [&](auto d, int64_t i) HWY_ATTR { StoreStored<kStorage>(d, hn::LoadU(d, row + i), out + i); });
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif

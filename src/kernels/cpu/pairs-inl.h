// Packing of fp32 or bf16 as the bf16 blocks that tiles multiply (bf16_tiles.h). Included once per instruction set.
#if defined(INCONTEXT_KERNELS_CPU_PAIRS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef INCONTEXT_KERNELS_CPU_PAIRS_INL_H
#undef INCONTEXT_KERNELS_CPU_PAIRS_INL_H
#else
#define INCONTEXT_KERNELS_CPU_PAIRS_INL_H
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels/cpu/bf16_tiles.h"
#include "kernels/cpu/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A block is packed from 32 rows of up to 32 elements, as pairs: two bf16 of neighbouring k in a lane of 32 bits. Where
// neighbours in memory are neighbours in k the pairs of a row come of it alone; else two rows make a row of pairs. A
// left block wants rows of pairs, a right block columns of them: whatever is the wrong way is transposed.

using PairLanes = hn::RebindToUnsigned<Full>;
constexpr int64_t kPairs = kTileBlock / 2;

/// Two bf16 in each lane: those of `even` in the lower half.
template <class D, class V>
HWY_INLINE hn::Vec<hn::RebindToUnsigned<D>> JoinPairs(D d, V even, V odd) {
  const hn::RebindToUnsigned<D> du;
  return hn::Or(hn::ShiftRight<16>(UpperBf16(d, even)), hn::And(UpperBf16(d, odd), hn::Set(du, 0xFFFF0000U)));
}

/// A row of 32 floats as 16 pairs of neighbours.
HWY_INLINE void PairNeighbours(const float* in, uint32_t* out) {
#if HWY_TARGET == HWY_SCALAR
  for (int64_t i = 0; i < kPairs; ++i) {
    out[i] = hn::GetLane(JoinPairs(One(), hn::Set(One(), in[2 * i]), hn::Set(One(), in[2 * i + 1])));
  }
#else
  const Full d;
  for (int64_t i = 0; i < kPairs; i += kLanes) {
    const auto low = hn::LoadU(d, in + 2 * i), high = hn::LoadU(d, in + 2 * i + kLanes);
    hn::StoreU(JoinPairs(d, hn::ConcatEven(d, high, low), hn::ConcatOdd(d, high, low)), PairLanes(), out + i);
  }
#endif
}

HWY_INLINE void PairNeighbours(const uint16_t* in, uint32_t* out) {
  std::memcpy(out, in, static_cast<std::size_t>(kTileBlock) * sizeof(uint16_t));
}

/// Two rows of elements from `even` and `odd` on as a vector of pairs of elements below each other.
HWY_INLINE hn::Vec<PairLanes> PairsBelow(const float* even, const float* odd) {
  const Full d;
  return JoinPairs(d, hn::LoadU(d, even), hn::LoadU(d, odd));
}

HWY_INLINE hn::Vec<PairLanes> PairsBelow(const uint16_t* even, const uint16_t* odd) {
  const PairLanes du;
  const hn::Rebind<uint16_t, PairLanes> d16;
  const auto lower = hn::PromoteTo(du, hn::LoadU(d16, even)), upper = hn::PromoteTo(du, hn::LoadU(d16, odd));
  return hn::Or(lower, hn::ShiftLeft<16>(upper));
}

/// Two rows of 32 elements as pairs of elements below each other, in two halves of 16 pairs.
template <class T>
HWY_INLINE void PairRows(const T* even, const T* odd, uint32_t* low, uint32_t* high) {
  for (int64_t i = 0; i < kPairs; i += kLanes) hn::StoreU(PairsBelow(even + i, odd + i), PairLanes(), low + i);
  for (int64_t i = 0; i < kPairs; i += kLanes) {
    hn::StoreU(PairsBelow(even + kPairs + i, odd + kPairs + i), PairLanes(), high + i);
  }
}

/// out[c * out_stride + r] = in[r * in_stride + c] for r < rows and c < columns, multiples of 4.
HWY_INLINE void TransposePairs(const uint32_t* in, int64_t in_stride, int64_t rows, int64_t columns, uint32_t* out,
                               int64_t out_stride) {
  // Moves alone, which leave the bits of any float as they are.
  const auto* from = reinterpret_cast<const float*>(in);
  auto* to = reinterpret_cast<float*>(out);
  for (int64_t r = 0; r < rows; r += 4) {
    for (int64_t c = 0; c < columns; c += 4) {
      Transpose4(from + r * in_stride + c, in_stride, to + c * out_stride + r, out_stride);
    }
  }
}

/// 32 rows of 32 elements (T: float, or uint16_t for bf16), of which `outer` rows and `inner` elements are there and
/// the others are 0: those of `in`, or a copy in `block` where some are missing.
template <class T>
struct BlockRows {
  const T* data;
  int64_t stride;
  const T* row(int64_t r) const { return data + r * stride; }
};

template <class T>
HWY_INLINE BlockRows<T> WholeBlock(const T* in, int64_t stride, int64_t outer, int64_t inner, T* block) {
  if (outer >= kTileBlock && inner >= kTileBlock) return {in, stride};
  std::fill_n(block, kTileBlockSize, T{0});
  for (int64_t r = 0; r < std::min(outer, kTileBlock); ++r) {
    std::copy_n(in + r * stride, std::min(inner, kTileBlock), block + r * kTileBlock);
  }
  return {block, kTileBlock};
}

/// A left block: [32 rows][16 pairs], the two halves one behind the other. Memory is [row][k], or [k][row].
template <class T>
void PackLeftBlock(const BlockRows<T>& in, bool transposed, uint32_t* out) {
  if (!transposed) {
    for (int64_t r = 0; r < kTileBlock; ++r) PairNeighbours(in.row(r), out + r * kPairs);
    return;
  }
  HWY_ALIGN uint32_t pairs[kPairs * kTileBlock];
  for (int64_t k = 0; k < kPairs; ++k) {
    uint32_t* row = pairs + k * kTileBlock;
    PairRows(in.row(2 * k), in.row(2 * k + 1), row, row + kPairs);
  }
  TransposePairs(pairs, kTileBlock, kPairs, kTileBlock, out, kPairs);
}

/// A left block of memory [k][row] by pairs: [16 pairs][32 rows].
template <class T>
void PackLeftBlockByPairs(const BlockRows<T>& in, uint32_t* out) {
  for (int64_t k = 0; k < kPairs; ++k, out += kTileBlock) {
    PairRows(in.row(2 * k), in.row(2 * k + 1), out, out + kPairs);
  }
}

/// A right block: two halves of [16 pairs][16 columns]. Memory is [k][column], or [column][k].
template <class T>
void PackRightBlock(const BlockRows<T>& in, bool transposed, uint32_t* out) {
  if (!transposed) {
    for (int64_t k = 0; k < kPairs; ++k) {
      PairRows(in.row(2 * k), in.row(2 * k + 1), out + k * kPairs, out + (kPairs + k) * kPairs);
    }
    return;
  }
  HWY_ALIGN uint32_t pairs[kTileBlock * kPairs];
  for (int64_t j = 0; j < kTileBlock; ++j) PairNeighbours(in.row(j), pairs + j * kPairs);
  TransposePairs(pairs, kPairs, kPairs, kPairs, out, kPairs);
  TransposePairs(pairs + kPairs * kPairs, kPairs, kPairs, kPairs, out + kPairs * kPairs, kPairs);
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif

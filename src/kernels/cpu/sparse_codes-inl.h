// Scores and sums of sparse codes by look-ups: the non-zeros of a block read out, and what they select. Included once
// per instruction set.
#if defined(INCONTEXT_KERNELS_CPU_SPARSE_CODES_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef INCONTEXT_KERNELS_CPU_SPARSE_CODES_INL_H
#undef INCONTEXT_KERNELS_CPU_SPARSE_CODES_INL_H
#else
#define INCONTEXT_KERNELS_CPU_SPARSE_CODES_INL_H
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "kernels/cpu/math-inl.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/storage-inl.h"
#include "kernels/sparse_block.h"

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr float kLeastWeight = 0x1p-24F;  // of the largest in a range: below it a position adds nothing

/// Vectors of kWidth floats, as several where the machine's are shorter.
template <std::size_t kWidth>
struct Wide {
  static constexpr std::size_t kOne = std::min(kWidth, static_cast<std::size_t>(kLanes));
  static constexpr std::size_t kParts = kWidth / kOne;
  using D = hn::FixedTag<float, kOne>;
  using V = hn::Vec<D>;
  V part[kParts];

  static HWY_INLINE Wide Load(const float* from) {
    Wide w;
#pragma GCC unroll 4
    for (std::size_t i = 0; i < kParts; ++i) w.part[i] = hn::LoadU(D(), from + i * kOne);
    return w;
  }
  static HWY_INLINE Wide Zero() {
    Wide w;
#pragma GCC unroll 4
    for (V& each : w.part) each = hn::Zero(D());
    return w;
  }
  HWY_INLINE void Store(float* to) const {
#pragma GCC unroll 4
    for (std::size_t i = 0; i < kParts; ++i) hn::StoreU(part[i], D(), to + i * kOne);
  }
  /// this + factor * other.
  HWY_INLINE Wide Plus(float factor, const Wide& other) const {
    Wide w;
    const V f = hn::Set(D(), factor);
#pragma GCC unroll 4
    for (std::size_t i = 0; i < kParts; ++i) w.part[i] = hn::MulAdd(f, other.part[i], part[i]);
    return w;
  }
  HWY_INLINE Wide Times(float factor) const {
    Wide w;
    const V f = hn::Set(D(), factor);
#pragma GCC unroll 4
    for (std::size_t i = 0; i < kParts; ++i) w.part[i] = hn::Mul(f, part[i]);
    return w;
  }
  HWY_INLINE bool AllBelow(float bound) const {
    bool all = true;
#pragma GCC unroll 4
    for (std::size_t i = 0; i < kParts; ++i) all = all && hn::AllTrue(D(), hn::Lt(part[i], hn::Set(D(), bound)));
    return all;
  }
};

/// The non-zeros of some positions of a block, read out.
struct ReadCodes {
  const int32_t* places = nullptr;      // of their atoms, atom * width
  const float* coefficients = nullptr;  // over the position's scale
  HWY_ALIGN float scales[SparseLayout::kBlock];
};

/// Reads out the non-zeros [first, last) of a part.
template <Coefficients kKind>
HWY_INLINE void ReadNonZeros(const SparsePart& part, int64_t first, int64_t last, int32_t width, int32_t* places,
                             float* coefficients) {
  const hn::RebindToSigned<Full> di;
  const hn::Rebind<uint16_t, decltype(di)> dh;
  const hn::Rebind<uint8_t, decltype(di)> db;
  const Full d;
  [[maybe_unused]] const float* table = kKind == Coefficients::integer ? nullptr : ladder_table(kKind);
  const auto read = [&](int64_t i, auto low, [[maybe_unused]] auto high) HWY_ATTR {
    constexpr int kBits = atom_bits(kKind);
    const auto atom = hn::And(low, hn::Set(di, (1 << kBits) - 1));
    hn::StoreU(hn::Mul(atom, hn::Set(di, width)), di, places + i);
    const auto code = hn::ShiftRight<kBits>(low);
    if constexpr (kKind != Coefficients::integer) {
      hn::StoreU(hn::GatherIndex(d, table, code), d, coefficients + i);
    } else {
      const auto bits = hn::Or(hn::ShiftLeft<24>(high), hn::ShiftLeft<20>(code));
      hn::StoreU(hn::Mul(hn::ConvertTo(d, hn::ShiftRight<20>(bits)), hn::Set(d, 1.0F / 2047)), d, coefficients + i);
    }
  };
  int64_t i = first;
  for (; i + kLanes <= last; i += kLanes) {
    const auto low = hn::PromoteTo(di, hn::LoadU(dh, part.low + i));
    if constexpr (kKind != Coefficients::integer) {
      read(i - first, low, low);
    } else {
      read(i - first, low, hn::PromoteTo(di, hn::LoadU(db, part.high + i)));
    }
  }
  if (i == last) return;
  // The last ones by way of copies, so that nothing behind the part is read.
  HWY_ALIGN uint16_t low[kLanes] = {};
  HWY_ALIGN uint8_t high[kLanes] = {};
  std::copy(part.low + i, part.low + last, low);
  if constexpr (kKind == Coefficients::integer) std::copy(part.high + i, part.high + last, high);
  if constexpr (kKind != Coefficients::integer) {
    read(i - first, hn::PromoteTo(di, hn::Load(dh, low)), hn::PromoteTo(di, hn::Load(dh, low)));
  } else {
    read(i - first, hn::PromoteTo(di, hn::Load(dh, low)), hn::PromoteTo(di, hn::Load(db, high)));
  }
}

/// Reads out positions [begin, end) of a part, into memory of this thread. How many non-zeros a position has is
/// `sparsity`, or what the part counts.
template <Coefficients kKind>
HWY_INLINE ReadCodes ReadPart(const SparsePart& part, int64_t sparsity, int64_t begin, int64_t end, int64_t width) {
  int64_t first = begin * sparsity, last = end * sparsity;
  if (part.counts != nullptr) {
    first = 0;
    for (int64_t j = 0; j < begin; ++j) first += part.counts[j];
    last = first;
    for (int64_t j = begin; j < end; ++j) last += part.counts[j];
  }
  const int64_t most = SparseLayout::kBlock * SparseLayout::kMostNonZeros + kLanes;
  ReadCodes codes;
  float* coefficients = scratch(Scratch::left, most);
  auto* places = reinterpret_cast<int32_t*>(scratch(Scratch::right, most));
  ReadNonZeros<kKind>(part, first, last, static_cast<int32_t>(width), places, coefficients);
  for (int64_t j = 0; j < SparseLayout::kBlock; j += kLanes) {
    hn::StoreU(LoadStored<Storage::f16>(Full(), part.scales + j), Full(), codes.scales + j);
  }
  codes.coefficients = coefficients;
  codes.places = places;
  return codes;
}

/// scores[j] = scale of the code times its look-ups, for the heads of an item.
template <Coefficients kKind, std::size_t kWidth>
HWY_INLINE void ScoreBlock(const SparsePart& part, int64_t sparsity, const float* products, int64_t begin, int64_t end,
                           float factor, float* scores) {
  using W = Wide<kWidth>;
  const ReadCodes codes = ReadPart<kKind>(part, sparsity, begin, end, static_cast<int64_t>(kWidth));
  const int32_t* place = codes.places;
  const float* coefficient = codes.coefficients;
  for (int64_t j = begin; j < end; ++j) {
    const int64_t count = part.counts == nullptr ? sparsity : part.counts[j];
    W even = W::Zero(), odd = W::Zero();
    int64_t i = 0;
    for (; i + 4 <= count; i += 4) {
      even = even.Plus(coefficient[i], W::Load(products + place[i]));
      odd = odd.Plus(coefficient[i + 1], W::Load(products + place[i + 1]));
      even = even.Plus(coefficient[i + 2], W::Load(products + place[i + 2]));
      odd = odd.Plus(coefficient[i + 3], W::Load(products + place[i + 3]));
    }
    for (; i + 2 <= count; i += 2) {
      even = even.Plus(coefficient[i], W::Load(products + place[i]));
      odd = odd.Plus(coefficient[i + 1], W::Load(products + place[i + 1]));
    }
    if (i < count) even = even.Plus(coefficient[i], W::Load(products + place[i]));
    even.Plus(1.0F, odd).Times(factor * codes.scales[j]).Store(scores + (j - begin) * static_cast<int64_t>(kWidth));
    place += count;
    coefficient += count;
  }
}

/// sums[atom] += weight of the position times coefficient, for the heads of an item.
template <Coefficients kKind, std::size_t kWidth>
HWY_INLINE void SumBlock(const SparsePart& part, int64_t sparsity, const float* weights, int64_t begin, int64_t end,
                         float* sums) {
  using W = Wide<kWidth>;
  const ReadCodes codes = ReadPart<kKind>(part, sparsity, begin, end, static_cast<int64_t>(kWidth));
  const int32_t* place = codes.places;
  const float* coefficient = codes.coefficients;
  for (int64_t j = begin; j < end; ++j) {
    const int64_t count = part.counts == nullptr ? sparsity : part.counts[j];
    const W weight = W::Load(weights + (j - begin) * static_cast<int64_t>(kWidth));
    if (!weight.AllBelow(kLeastWeight)) {
      const W scaled = weight.Times(codes.scales[j]);
      const auto add = [&](int64_t i) HWY_ATTR {
        float* sum = sums + place[i];
        W::Load(sum).Plus(coefficient[i], scaled).Store(sum);
      };
      int64_t i = 0;
      for (; i + 4 <= count; i += 4) {
        add(i);
        add(i + 1);
        add(i + 2);
        add(i + 3);
      }
      for (; i < count; ++i) add(i);
    }
    place += count;
    coefficient += count;
  }
}

/// Weights 2^(score - top) in place of scores [positions, kWidth]; the tops and the sums of weights of each head.
template <std::size_t kWidth>
HWY_INLINE void SoftmaxPositions(float* scores, int64_t positions, float* tops, float* sums) {
  constexpr std::size_t kPattern = std::max(kWidth, static_cast<std::size_t>(kLanes));
  constexpr std::size_t kVectors = kPattern / static_cast<std::size_t>(kLanes);
  const Full d;
  using V = hn::Vec<Full>;
  // Filled up to whole patterns with what has no weight.
  const int64_t size = positions * static_cast<int64_t>(kWidth);
  const int64_t padded =
      (size + static_cast<int64_t>(kPattern) - 1) / static_cast<int64_t>(kPattern) * static_cast<int64_t>(kPattern);
  std::fill(scores + size, scores + padded, -INFINITY);
  V most[kVectors], total[kVectors];
  for (std::size_t v = 0; v < kVectors; ++v) {
    most[v] = hn::Set(d, -INFINITY);
    total[v] = hn::Zero(d);
  }
  for (int64_t i = 0; i < padded; i += static_cast<int64_t>(kPattern)) {
#pragma GCC unroll 16
    for (std::size_t v = 0; v < kVectors; ++v) {
      most[v] = hn::Max(most[v], hn::LoadU(d, scores + i + static_cast<int64_t>(v) * kLanes));
    }
  }
  float pattern[kPattern];
  const auto fold = [&](const V(&from)[kVectors], float* out, const auto& join) HWY_ATTR {
    for (std::size_t v = 0; v < kVectors; ++v) hn::StoreU(from[v], d, pattern + v * static_cast<std::size_t>(kLanes));
    for (std::size_t h = 0; h < kWidth; ++h) {
      out[h] = pattern[h];
      for (std::size_t i = h + kWidth; i < kPattern; i += kWidth) out[h] = join(out[h], pattern[i]);
    }
  };
  fold(most, tops, [](float a, float b) { return std::max(a, b); });
  V top[kVectors];
  for (std::size_t i = 0; i < kPattern; ++i) pattern[i] = tops[i % kWidth];
  for (std::size_t v = 0; v < kVectors; ++v) top[v] = hn::LoadU(d, pattern + v * static_cast<std::size_t>(kLanes));
  const V nothing = hn::Set(d, -126.0F);
  for (int64_t i = 0; i < padded; i += static_cast<int64_t>(kPattern)) {
#pragma GCC unroll 16
    for (std::size_t v = 0; v < kVectors; ++v) {
      float* at = scores + i + static_cast<int64_t>(v) * kLanes;
      const V below = hn::Sub(hn::LoadU(d, at), top[v]);
      const V weight = hn::IfThenElseZero(hn::Gt(below, nothing), Exp2(d, below));
      total[v] = hn::Add(total[v], weight);
      hn::StoreU(weight, d, at);
    }
  }
  fold(total, sums, [](float a, float b) { return a + b; });
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif

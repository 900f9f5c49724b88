// A few queries over one split of a cache. Included once per instruction set.
#if defined(INCONTEXT_KERNELS_CPU_CACHE_ATTENTION_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef INCONTEXT_KERNELS_CPU_CACHE_ATTENTION_INL_H
#undef INCONTEXT_KERNELS_CPU_CACHE_ATTENTION_INL_H
#else
#define INCONTEXT_KERNELS_CPU_CACHE_ATTENTION_INL_H
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "kernels/cpu/dot-inl.h"

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr int64_t kSplit = 256;       // part of the contract: the order of sums
constexpr int64_t kValueBlock = 128;  // values that are walked once for each few vectors of a head: first-level cache

/// Positions, relative to the start of a split.
struct Seen {
  int64_t first = 0, last = 0;  // last excluded
};

/// Softmax of a split that is not divided by its sum: p = 2^(score - top), all in units of factors of 2.
struct SplitSums {
  float top = -INFINITY;  // that of a row that sees nothing
  float sum = 0;
};

/// Keys or values of one split, from its first position on.
template <Storage kStorage>
struct SplitRows {
  const Element<kStorage>* first = nullptr;
  int64_t stride = 0;
};

/// The scores of kColumns keys, `apart` positions from each other, of which the first `count` are stored.
template <Storage kStorage, std::size_t kRows, std::size_t kColumns>
HWY_INLINE void ScoreTile(const float* const* q, const SplitRows<kStorage>& keys, int64_t head_dim, int64_t first,
                          int64_t apart, std::size_t count, float* scores) {
  const Element<kStorage>* columns[kColumns];
#pragma GCC unroll 8
  for (std::size_t c = 0; c < kColumns; ++c) {
    columns[c] = keys.first + (first + static_cast<int64_t>(std::min(c, count - 1)) * apart) * keys.stride;
  }
  float sums[kRows * kColumns];
  DotTile<kStorage, kRows, kColumns, false>(q, columns, head_dim, sums);
  float* to = scores + first * static_cast<int64_t>(kRows);
#pragma GCC unroll 8
  for (std::size_t c = 0; c < kColumns; ++c, to += apart * static_cast<int64_t>(kRows)) {
    if (c < count) std::copy_n(sums + c * kRows, kRows, to);
  }
}

/// scores[j * kRows + r] = q[r]·keys[j] for the positions of `range`; meanwhile the values of the same positions are
/// fetched. One row, for which memory is the limit, walks stripes of the range side by side, as several streams; more
/// rows walk neighbours, so that what is fetched ahead of a tile is always needed.
template <Storage kStorage, std::size_t kRows>
void ScoreSplit(const float* const* q, const SplitRows<kStorage>& keys, const SplitRows<kStorage>& values,
                int64_t head_dim, Seen range, bool fetch, float* scores) {
  constexpr std::size_t kColumns = kRows == 1 ? kDotStreams : kStoredDotColumns<kStorage>;
  constexpr int64_t kKeys = kColumns;
  constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(Element<kStorage>));
  const Element<kStorage>* ahead = values.first + range.first * values.stride;
  const auto fetch_values = [&]() HWY_ATTR {
    if (!fetch) return;
    for (const auto* row = ahead; row < ahead + kKeys * values.stride; row += kLine) hwy::Prefetch(row);
    ahead += kKeys * values.stride;
  };
  int64_t j = range.first;
  if constexpr (kRows == 1) {
    const int64_t stripe = (range.last - range.first) / kKeys;
    for (; j < range.first + stripe; ++j) {
      fetch_values();
      ScoreTile<kStorage, kRows, kColumns>(q, keys, head_dim, j, stripe, kColumns, scores);
    }
    j = range.first + stripe * kKeys;
  } else {
    for (; j + kKeys <= range.last; j += kKeys) {
      fetch_values();
      const Element<kStorage>* columns[kColumns];
#pragma GCC unroll 8
      for (int64_t c = 0; c < kKeys; ++c) columns[c] = keys.first + (j + c) * keys.stride;
      DotTile<kStorage, kRows, kColumns, false>(q, columns, head_dim, scores + j * static_cast<int64_t>(kRows));
    }
  }
  if (j == range.last) return;
  ScoreTile<kStorage, kRows, kColumns>(q, keys, head_dim, j, 1, static_cast<std::size_t>(range.last - j), scores);
}

#if HWY_TARGET == HWY_SCALAR
template <std::size_t kRows>
void SoftmaxSplit(float* scores, const Seen* seen, Seen range, float factor, SplitSums* sums) {
  const One d;
  for (std::size_t r = 0; r < kRows; ++r) {
    float* row = scores + r;
    constexpr int64_t kStep = kRows;
    float top = -INFINITY;
    for (int64_t j = seen[r].first; j < seen[r].last; ++j) top = std::max(top, row[j * kStep]);
    for (int64_t j = range.first; j < seen[r].first; ++j) row[j * kStep] = 0;
    for (int64_t j = std::max(seen[r].last, range.first); j < range.last; ++j) row[j * kStep] = 0;
    sums[r] = {};
    if (seen[r].first >= seen[r].last) continue;
    sums[r].top = factor * top;
    for (int64_t j = seen[r].first; j < seen[r].last; ++j) {
      const auto exponent = hn::MulSub(hn::Set(d, row[j * kStep]), hn::Set(d, factor), hn::Set(d, sums[r].top));
      row[j * kStep] = hn::GetLane(Exp2(d, exponent));
      sums[r].sum += row[j * kStep];
    }
  }
}
#else
/// scores[j * kRows + r] becomes 2^(factor * score - top), and 0 where row r does not see j. Sums are taken in kLanes
/// classes of positions, j modulo kLanes, which are added in one fixed tree: the same for every kRows.
template <std::size_t kRows>
void SoftmaxSplit(float* scores, const Seen* seen, Seen range, float factor, SplitSums* sums) {
  const Full d;
  const hn::RebindToSigned<Full> di;
  using V = hn::Vec<Full>;
  constexpr int64_t kRowCount = kRows;
  constexpr int64_t kKeys = kLanes / kRowCount;  // in a vector; lane l is row l % kRows of key l / kRows
  HWY_ALIGN int32_t first_lanes[kLanes];
  HWY_ALIGN int32_t last_lanes[kLanes];
  HWY_ALIGN float lanes[kLanes];
  Seen inner = range;  // seen by all rows
  for (int64_t r = 0; r < kRowCount; ++r) {
    inner.first = std::max(inner.first, seen[r].first);
    inner.last = std::min(inner.last, seen[r].last);
  }
  for (int64_t l = 0; l < kLanes; ++l) {
    first_lanes[l] = static_cast<int32_t>(seen[l % kRowCount].first - l / kRowCount);
    last_lanes[l] = static_cast<int32_t>(seen[l % kRowCount].last - l / kRowCount);
  }
  const auto firsts = hn::Load(di, first_lanes);
  const auto lasts = hn::Load(di, last_lanes);
  // work(place of a vector, which of kRows sums it goes to, mask of what is seen or nothing), for whole classes.
  const auto for_each_vector = [&](const auto& whole, const auto& masked) HWY_ATTR {
    for (int64_t j = range.first / kLanes * kLanes; j < range.last; j += kLanes) {
      if (j >= inner.first && j + kLanes <= inner.last) {
#pragma GCC unroll 4
        for (int64_t i = 0; i < kRowCount; ++i) whole(scores + j * kRowCount + i * kLanes, i);
      } else {
#pragma GCC unroll 4
        for (int64_t i = 0; i < kRowCount; ++i) {
          const auto key = hn::Set(di, static_cast<int32_t>(j + i * kKeys));
          const auto inside =
              hn::AndNot(hn::VecFromMask(di, hn::Lt(key, firsts)), hn::VecFromMask(di, hn::Lt(key, lasts)));
          masked(scores + j * kRowCount + i * kLanes, i, hn::RebindMask(d, hn::MaskFromVec(inside)));
        }
      }
    }
  };
  const V lowest = hn::Set(d, -INFINITY);
  V highest[kRows];
  for (V& value : highest) value = lowest;
  for_each_vector([&](float* at, int64_t i) HWY_ATTR { highest[i] = hn::Max(highest[i], hn::Load(d, at)); },
                  [&](float* at, int64_t i, auto inside)
                      HWY_ATTR { highest[i] = hn::Max(highest[i], hn::IfThenElse(inside, hn::Load(d, at), lowest)); });
  for (std::size_t i = 1; i < kRows; ++i) highest[0] = hn::Max(highest[0], highest[i]);
  hn::Store(highest[0], d, lanes);
  for (int64_t r = 0; r < kRowCount; ++r) {
    float top = lanes[r];
    for (int64_t l = r; l < kLanes; l += kRowCount) top = std::max(top, lanes[l]);
    sums[r].top = seen[r].first < seen[r].last ? factor * top : -INFINITY;
    for (int64_t l = r; l < kLanes; l += kRowCount) lanes[l] = seen[r].first < seen[r].last ? sums[r].top : 0;
  }
  const V shift = hn::Load(d, lanes);
  const V scale = hn::Set(d, factor);
  V total[kRows];
  for (V& value : total) value = hn::Zero(d);
  for_each_vector(
      [&](float* at, int64_t i) HWY_ATTR {
        const V p = Exp2(d, hn::MulSub(hn::Load(d, at), scale, shift));
        total[i] = hn::Add(total[i], p);
        hn::Store(p, d, at);
      },
      [&](float* at, int64_t i, auto inside) HWY_ATTR {
        const V p = hn::IfThenElseZero(inside, Exp2(d, hn::MulSub(hn::Load(d, at), scale, shift)));
        total[i] = hn::Add(total[i], p);
        hn::Store(p, d, at);
      });
  const hn::FixedTag<float, 4> four;
  if constexpr (kRows == 1) {
    hn::StoreU(FoldToFour(d, total[0]), four, lanes);
    sums[0].sum = (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
  } else {
    hn::StoreU(FoldToFour(d, hn::Add(hn::Add(total[0], total[2]), hn::Add(total[1], total[3]))), four, lanes);
    for (std::size_t r = 0; r < kRows; ++r) sums[r].sum = lanes[r];
  }
}
#endif

/// out[r] (+)= sum over a range of p[j * kRows + r] values[j], for kVectors vectors of the head, in the order of units.
template <Storage kStorage, std::size_t kRows, std::size_t kVectors>
HWY_INLINE void SumValueTile(const float* HWY_RESTRICT p, const Element<kStorage>* HWY_RESTRICT values, int64_t stride,
                             int64_t count, bool add, float* out, int64_t out_stride) {
  const Full d;
  using V = hn::Vec<Full>;
  V sum[kRows][kVectors];
#pragma GCC unroll 4
  for (std::size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (std::size_t v = 0; v < kVectors; ++v) {
      const float* from = out + static_cast<int64_t>(r) * out_stride + static_cast<int64_t>(v) * kLanes;
      sum[r][v] = add ? hn::LoadU(d, from) : hn::Zero(d);
    }
  }
#pragma GCC unroll 2
  for (int64_t j = 0; j < count; ++j, p += kRows, values += stride) {
    V right[kVectors];
#pragma GCC unroll 8
    for (std::size_t v = 0; v < kVectors; ++v) {
      constexpr auto kPerUnit = static_cast<std::size_t>(kUnitVectors<kStorage>);
      right[v] = LoadUnitVector<kStorage>(values + static_cast<int64_t>(v / kPerUnit) * kUnit<kStorage>,
                                          static_cast<int64_t>(v % kPerUnit));
    }
#pragma GCC unroll 4
    for (std::size_t r = 0; r < kRows; ++r) {
      const V left = hn::Set(d, p[r]);
#pragma GCC unroll 8
      for (std::size_t v = 0; v < kVectors; ++v) sum[r][v] = hn::MulAdd(left, right[v], sum[r][v]);
    }
  }
#pragma GCC unroll 4
  for (std::size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (std::size_t v = 0; v < kVectors; ++v) {
      hn::StoreU(sum[r][v], d, out + static_cast<int64_t>(r) * out_stride + static_cast<int64_t>(v) * kLanes);
    }
  }
}

/// The most vectors of a head whose sums are kept in registers for kRows rows: whole units.
template <Storage kStorage, std::size_t kRows>
constexpr std::size_t kValueVectors = kRows == 1                    ? 8
                                      : HWY_TARGET <= HWY_AVX3      ? 4
                                      : kUnitVectors<kStorage> == 2 ? 2
                                                                    : 3;

/// out[r] = sum over the range of p[j * kRows + r] values[j]; `vectors` vectors of the head, rows of out out_stride
/// apart. Each sum runs over the positions in order, whatever the tile.
template <Storage kStorage, std::size_t kRows>
void SumValues(const float* p, const SplitRows<kStorage>& values, int64_t vectors, Seen range, float* out,
               int64_t out_stride) {
  constexpr std::size_t kMost = kValueVectors<kStorage, kRows>;
  for (int64_t j = range.first; j < range.last; j += kValueBlock) {
    const int64_t count = std::min(kValueBlock, range.last - j);
    const float* weights = p + j * static_cast<int64_t>(kRows);
    const bool add = j > range.first;
    int64_t v = 0;
    const auto tile = [&](auto size) HWY_ATTR {
      SumValueTile<kStorage, kRows, size>(weights, values.first + j * values.stride + v * kLanes, values.stride, count,
                                          add, out + v * kLanes, out_stride);
      return static_cast<int64_t>(size);
    };
    while (v < vectors) {
      const int64_t left = vectors - v;
      if (left >= static_cast<int64_t>(kMost) && !(kMost == 3 && left == 4)) {
        v += tile(std::integral_constant<std::size_t, kMost>());
      } else if (kMost == 8 && left >= 4) {
        v += tile(std::integral_constant<std::size_t, 4>());
      } else if (left >= 2) {
        v += tile(std::integral_constant<std::size_t, 2>());
      } else if constexpr (kUnitVectors<kStorage> == 1) {
        v += tile(std::integral_constant<std::size_t, 1>());
      }
    }
  }
}

/// Adds a split to what the splits before it gave: sums with the old and the new highest score, in order.
HWY_INLINE void MergeSplit(const SplitSums& added, const float* HWY_RESTRICT added_values, int64_t width,
                           SplitSums& total, float* HWY_RESTRICT values) {
  if (added.top == -INFINITY) return;
  if (total.top == -INFINITY) {
    total = added;
    std::copy_n(added_values, width, values);
    return;
  }
  const One one;
  const float top = std::max(total.top, added.top);
  const float keep = hn::GetLane(Exp2(one, hn::Set(one, total.top - top)));
  const float take = hn::GetLane(Exp2(one, hn::Set(one, added.top - top)));
  total.top = top;
  total.sum = total.sum * keep + added.sum * take;
  ForEachVector(width, [&](auto d, int64_t i) HWY_ATTR {
    const auto kept = hn::Mul(hn::LoadU(d, values + i), hn::Set(d, keep));
    hn::StoreU(hn::MulAdd(hn::LoadU(d, added_values + i), hn::Set(d, take), kept), d, values + i);
  });
}

/// Divides by the sum, and brings the values back into their natural order.
template <Storage kStorage>
HWY_INLINE void FinishRow(const SplitSums& total, const float* HWY_RESTRICT values, int64_t head_dim,
                          float* HWY_RESTRICT out) {
  for (int64_t i = 0; i < head_dim; ++i) out[i] = values[PlaceInUnits<kStorage>(i)] / total.sum;
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif

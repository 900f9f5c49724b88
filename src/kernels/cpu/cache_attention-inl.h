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
#include "kernels/key_blocks.h"

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr int64_t kSplit = 256;      // part of the contract: the order of sums
constexpr int64_t kValueBlock = 64;  // values that are walked once for each few vectors of a head: first-level cache

/// Positions, relative to the start of a split.
struct Seen {
  int64_t first = 0, last = 0;  // last excluded
};

/// Softmax of a split that is not divided by its sum: p = 2^(score - top), all in units of factors of 2.
struct SplitSums {
  float top = -INFINITY;  // that of a row that sees nothing
  float sum = 0;
};

/// The values of one split, from its first position on.
template <Storage kStorage>
struct SplitValues {
  const Element<kStorage>* first = nullptr;
  int64_t stride = 0;
};

/// The vectors of a block of keys, in the order in which the block is read, and the position at which one begins.
constexpr int64_t kBlockVectors = kKeyBlock / kLanes;
template <Storage kStorage>
constexpr int64_t PositionOf(int64_t vector) {
  if constexpr (kUnitVectors<kStorage> == 1) return vector * kLanes;
  return vector / 2 * kLanes + vector % 2 * (kKeyBlock / 2);
}

/// How many vectors of how many blocks of keys a tile of kRows queries takes.
template <std::size_t kRows>
struct ScoreTileSize {
  /// Eight sums of vectors hide the latency of a multiply-add; the 32 registers of AVX-512 have room for twice as many,
  /// which use each element of a query twice as often.
  static constexpr std::size_t kSums = HWY_TARGET <= HWY_AVX3 && kRows > 1 ? 16 : 8;
  static constexpr std::size_t kVectors = std::min(kSums / kRows, static_cast<std::size_t>(kBlockVectors));
  static constexpr std::size_t kBlocks = kSums / kRows / kVectors;
};

/// Calls step(i) for i < count. When kFetch, what lies at each of `ahead` is fetched meanwhile, kElements elements for
/// each step: a walk as even as this keeps memory busy, and never so busy that the steps wait for it.
template <bool kFetch, int64_t kElements, std::size_t kStreams, class E, class Step>
HWY_INLINE void ForEachStep(int64_t count, const E* const (&ahead)[kStreams], const Step& step) {
  constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(E));
  constexpr int64_t kTogether = kFetch ? std::max<int64_t>(2, kLine / kElements) : 2;
  int64_t i = 0;
  for (; i + kTogether <= count; i += kTogether) {
    if constexpr (kFetch) {
#pragma GCC unroll 4
      for (std::size_t stream = 0; stream < kStreams; ++stream) {
#pragma GCC unroll 16
        for (int64_t e = 0; e < kTogether * kElements; e += kLine) hwy::Prefetch(ahead[stream] + i * kElements + e);
      }
    }
#pragma GCC unroll 16
    for (int64_t j = 0; j < kTogether; ++j) step(i + j);
  }
  for (; i < count; ++i) step(i);
}

/// Scores of kRows queries for some vectors of kBlocks blocks of keys. Every score is one chain of multiply-adds over
/// the head, so that its bits depend on nothing but query and key.
template <Storage kStorage, std::size_t kRows, std::size_t kBlocks, std::size_t kVectors, bool kFetch>
HWY_INLINE void ScoreTile(const float* const* q, int64_t head_dim, const Element<kStorage>* const* keys,
                          int64_t first_vector, float* const* scores) {
  using E = Element<kStorage>;
  constexpr int64_t kElements = static_cast<int64_t>(kVectors) * kLanes;  // of a row of a block, in this tile
  constexpr int64_t kAhead = kBytesAhead / static_cast<int64_t>(sizeof(E));
  const Full d;
  using V = hn::Vec<Full>;
  V sum[kRows][kBlocks][kVectors];
#pragma GCC unroll 4
  for (auto& row : sum) {
#pragma GCC unroll 4
    for (auto& block : row) {
#pragma GCC unroll 8
      for (V& each : block) each = hn::Zero(d);
    }
  }
  const E* from[kBlocks];
  const E* ahead[kBlocks];  // blocks follow each other: the tiles of a block share in fetching one further on
#pragma GCC unroll 4
  for (std::size_t b = 0; b < kBlocks; ++b) {
    from[b] = keys[b] + first_vector * kLanes;
    ahead[b] = keys[b] + std::max(kAhead, kKeyBlock * head_dim) + first_vector * kLanes * head_dim;
  }
  ForEachStep<kFetch, kElements>(head_dim, ahead, [&](int64_t k) HWY_ATTR {
    V right[kBlocks][kVectors];
#pragma GCC unroll 4
    for (std::size_t b = 0; b < kBlocks; ++b) {
#pragma GCC unroll 8
      for (std::size_t v = 0; v < kVectors; v += static_cast<std::size_t>(kUnitVectors<kStorage>)) {
        LoadUnit<kStorage>(from[b] + k * kKeyBlock + static_cast<int64_t>(v) * kLanes, right[b] + v);
      }
    }
#pragma GCC unroll 4
    for (std::size_t r = 0; r < kRows; ++r) {
      const V left = hn::Set(d, q[r][k]);
#pragma GCC unroll 4
      for (std::size_t b = 0; b < kBlocks; ++b) {
#pragma GCC unroll 8
        for (std::size_t v = 0; v < kVectors; ++v) sum[r][b][v] = hn::MulAdd(left, right[b][v], sum[r][b][v]);
      }
    }
  });
#pragma GCC unroll 4
  for (std::size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (std::size_t b = 0; b < kBlocks; ++b) {
#pragma GCC unroll 8
      for (std::size_t v = 0; v < kVectors; ++v) {
        const int64_t position = PositionOf<kStorage>(first_vector + static_cast<int64_t>(v));
        hn::StoreU(sum[r][b][v], d, scores[b] + static_cast<int64_t>(r) * kSplit + position);
      }
    }
  }
}

/// scores[r * kSplit + j] = q[r]·keys[j] for the blocks that hold `range`. Blocks that are taken together lie apart, as
/// several streams, which a processor reads faster than one.
template <Storage kStorage, std::size_t kRows, bool kFetch>
void ScoreSplit(const float* const* q, const Element<kStorage>* keys, int64_t head_dim, Seen range, float* scores) {
  constexpr std::size_t kVectors = ScoreTileSize<kRows>::kVectors;
  constexpr std::size_t kBlocks = ScoreTileSize<kRows>::kBlocks;
  const auto tiles = [&]<std::size_t kTogether>(std::integral_constant<std::size_t, kTogether>, int64_t block,
                                                int64_t apart) HWY_ATTR {
    const Element<kStorage>* blocks[kTogether];
    float* to[kTogether];
    for (std::size_t b = 0; b < kTogether; ++b) {
      const int64_t at = block + static_cast<int64_t>(b) * apart;
      blocks[b] = keys + at * kKeyBlock * head_dim;
      to[b] = scores + at * kKeyBlock;
    }
    for (int64_t v = 0; v < kBlockVectors; v += static_cast<int64_t>(kVectors)) {
      ScoreTile<kStorage, kRows, kTogether, kVectors, kFetch>(q, head_dim, blocks, v, to);
    }
  };
  const int64_t last = key_blocks(range.last);
  int64_t block = range.first / kKeyBlock;
  if constexpr (kBlocks > 1) {
    const int64_t apart = (last - block) / static_cast<int64_t>(kBlocks);
    for (const int64_t end = block + apart; block < end; ++block) {
      tiles(std::integral_constant<std::size_t, kBlocks>(), block, apart);
    }
    block += apart * (static_cast<int64_t>(kBlocks) - 1);
  }
  for (; block < last; ++block) tiles(std::integral_constant<std::size_t, 1>(), block, 0);
}

/// scores[j] becomes 2^(factor * score - top), and 0 where j in `range` is not seen. Sums are taken in kLanes classes
/// of positions, j modulo kLanes, which are added in one fixed tree.
inline SplitSums SoftmaxRow(float* scores, Seen seen, Seen range, float factor) {
  const Full d;
  using V = hn::Vec<Full>;
  if (seen.first >= seen.last) {
    std::fill(scores + range.first, scores + range.last, 0.0F);
    return {};
  }
  const V first = hn::Set(d, static_cast<float>(seen.first));
  const V last = hn::Set(d, static_cast<float>(seen.last));
  // whole(j) for vectors that are seen whole, part(j, mask of what is seen) for those at the edges.
  const auto for_each_vector = [&](const auto& whole, const auto& part) HWY_ATTR {
    const auto edge = [&](int64_t j) HWY_ATTR {
      const V position = hn::Iota(d, static_cast<float>(j));
      part(j, hn::And(hn::Ge(position, first), hn::Lt(position, last)));
    };
    int64_t j = range.first / kLanes * kLanes;
    for (; j < std::min(seen.first, range.last); j += kLanes) edge(j);
#pragma GCC unroll 2
    for (; j + kLanes <= seen.last; j += kLanes) whole(j);
    for (; j < range.last; j += kLanes) edge(j);
  };
  const V lowest = hn::Set(d, -INFINITY);
  V highest = lowest;
  const auto compare = [&](V score) HWY_ATTR { highest = hn::Max(highest, score); };
  for_each_vector([&](int64_t j) HWY_ATTR { compare(hn::Load(d, scores + j)); },
                  [&](int64_t j, auto inside)
                      HWY_ATTR { compare(hn::IfThenElse(inside, hn::Load(d, scores + j), lowest)); });
  const float top = factor * hn::GetLane(hn::MaxOfLanes(d, highest));
  const V shift = hn::Set(d, top);
  const V scale = hn::Set(d, factor);
  V total = hn::Zero(d);
  const auto exponential = [&](int64_t j)
                               HWY_ATTR { return Exp2(d, hn::MulSub(hn::Load(d, scores + j), scale, shift)); };
  const auto keep = [&](int64_t j, V p) HWY_ATTR {
    total = hn::Add(total, p);
    hn::Store(p, d, scores + j);
  };
  for_each_vector([&](int64_t j) HWY_ATTR { keep(j, exponential(j)); },
                  [&](int64_t j, auto inside) HWY_ATTR { keep(j, hn::IfThenElseZero(inside, exponential(j))); });
  return {top, hn::GetLane(hn::SumOfLanes(d, total))};
}

/// out[r] (+)= sum over a range of p[r * kSplit + j] values[j], for kVectors vectors of the head, in the order of
/// units.
template <Storage kStorage, std::size_t kRows, std::size_t kVectors, bool kFetch>
HWY_INLINE void SumValueTile(const float* HWY_RESTRICT p, const Element<kStorage>* HWY_RESTRICT values, int64_t stride,
                             int64_t count, const Element<kStorage>* ahead, bool add, float* out, int64_t out_stride) {
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
  const Element<kStorage>* const streams[1] = {ahead};
  ForEachStep<kFetch, static_cast<int64_t>(kVectors) * kLanes>(count, streams, [&](int64_t j) HWY_ATTR {
    V right[kVectors];
#pragma GCC unroll 8
    for (std::size_t v = 0; v < kVectors; v += static_cast<std::size_t>(kUnitVectors<kStorage>)) {
      LoadUnit<kStorage>(values + j * stride + static_cast<int64_t>(v) * kLanes, right + v);
    }
#pragma GCC unroll 4
    for (std::size_t r = 0; r < kRows; ++r) {
      const V left = hn::Set(d, p[static_cast<int64_t>(r) * kSplit + j]);
#pragma GCC unroll 8
      for (std::size_t v = 0; v < kVectors; ++v) sum[r][v] = hn::MulAdd(left, right[v], sum[r][v]);
    }
  });
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

/// out[r] = sum over the range of p[r * kSplit + j] values[j]; `vectors` vectors of the head, rows of out out_stride
/// apart. Each sum runs over the positions in order, whatever the tile.
template <Storage kStorage, std::size_t kRows, bool kFetch>
void SumValues(const float* p, const SplitValues<kStorage>& values, int64_t vectors, Seen range, float* out,
               int64_t out_stride) {
  constexpr std::size_t kMost = kValueVectors<kStorage, kRows>;
  for (int64_t j = range.first; j < range.last; j += kValueBlock) {
    const int64_t count = std::min(kValueBlock, range.last - j);
    const bool add = j > range.first;
    int64_t v = 0;
    const auto tile = [&](auto size) HWY_ATTR {
      // The tiles of a block share in fetching the next one, as if nothing lay between rows.
      const Element<kStorage>* ahead = values.first + (j + kValueBlock) * values.stride + v * kLanes * count;
      SumValueTile<kStorage, kRows, size, kFetch>(p + j, values.first + j * values.stride + v * kLanes, values.stride,
                                                  count, ahead, add, out + v * kLanes, out_stride);
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

#include "kernels/sparse_attention.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "base/error.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/scratch.h"
#include "kernels/storage.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/sparse_attention.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>  // must come first
#include <hwy/highway.h>

#include "kernels/cpu/dictionary_products-inl.h"
#include "kernels/cpu/math-inl.h"
#include "kernels/cpu/sparse_codes-inl.h"
#include "kernels/cpu/storage-inl.h"
#include "kernels/cpu/sums-inl.h"

#ifndef INCONTEXT_KERNELS_SPARSE_ATTENTION_SHARED
#define INCONTEXT_KERNELS_SPARSE_ATTENTION_SHARED
namespace incontext::kernels {

constexpr int64_t kSparseRange = 4096;  // positions whose softmax is taken together: part of the contract
constexpr int64_t kAtomSlice = 512;     // atoms that a piece multiplies; whose sums are added in order
constexpr int64_t kMostGroup = 16;      // query heads that are taken together
constexpr float kLog2OfE = 1.44269504F;

/// Some query heads of one row that share a KV head. `width` floats belong to an atom, those of the heads and zeros up
/// to a power of two.
struct SparseItem {
  const SparseAttentionSequence* sequence = nullptr;
  int64_t row = 0, head = 0, heads = 0, kv_head = 0, width = 0;
  int64_t first_range = 0, ranges = 0;  // of all ranges of the call
  float* products = nullptr;            // [key_atoms, width]: of the queries with atoms
  float* sums = nullptr;                // [ranges, value_atoms, width]: coefficients of atoms
  float* tops = nullptr;                // [ranges, 2, width]: the largest score, base 2, and the sum of weights
  float* partial = nullptr;             // [slices, heads, head_dim]

  const float* query(const SparseAttention& args, int64_t h) const {
    return sequence->q + row * sequence->q_stride + (head + h) * args.head_dim;
  }
};

}  // namespace incontext::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// Products of all items' queries with a slice of the atoms.
inline void MultiplyAtoms(const SparseAttention& args, std::span<const SparseItem> items, int64_t slice) {
  const int64_t panels = (args.key_atoms + kPanelAtoms - 1) / kPanelAtoms, of_slice = kAtomSlice / kPanelAtoms;
  for (int64_t panel = slice * of_slice; panel < std::min(panels, (slice + 1) * of_slice); ++panel) {
    const uint16_t* atoms = args.key_panels + panel * args.head_dim * kPanelAtoms;
    for (const SparseItem& item : items) {
      float* out = item.products + panel * kPanelAtoms * item.width;
      int64_t h = 0;
      const float* q[4];
      for (; h < item.heads; h += 4) {
        const int64_t count = std::min<int64_t>(4, item.heads - h);
        for (int64_t i = 0; i < count; ++i) q[i] = item.query(args, h + i);
        if (count == 4) PanelProducts<4>(atoms, args.head_dim, q, out + h, item.width);
        if (count == 3) PanelProducts<3>(atoms, args.head_dim, q, out + h, item.width);
        if (count == 2) PanelProducts<2>(atoms, args.head_dim, q, out + h, item.width);
        if (count == 1) PanelProducts<1>(atoms, args.head_dim, q, out + h, item.width);
      }
      for (int64_t fill = item.heads; fill < item.width; ++fill) {
        for (int64_t lane = 0; lane < kPanelAtoms; ++lane) out[lane * item.width + fill] = 0;
      }
    }
  }
}

/// Asks for the codes of a head in a block; where they differ in length, for the block's index of them alone.
inline void FetchPart(const SparseLayout& layout, const std::byte* block, int64_t head, bool values) {
  if (layout.counted) return hwy::Prefetch(block);
  const int64_t keys = layout.part_bytes(layout.key_sparsity), of_values = layout.part_bytes(layout.value_sparsity);
  const std::byte* part = block + head * (keys + of_values) + (values ? keys : 0);
  for (int64_t at = 0; at < (values ? of_values : keys); at += 64) hwy::Prefetch(part + at);
}

/// One range of positions of an item.
template <Coefficients kKind, std::size_t kWidth>
void AttendRange(const SparseAttention& args, const SparseItem& item, int64_t range) {
  constexpr int64_t kBlock = SparseLayout::kBlock;
  const SparseAttentionSequence& s = *item.sequence;
  const int64_t place = item.first_range + range;  // in multiples of kSparseRange from position 0
  const int64_t first = std::max(s.first, place * kSparseRange), last = std::min(s.last, (place + 1) * kSparseRange);
  constexpr auto kW = static_cast<int64_t>(kWidth);
  float* scores = scratch(Scratch::scores, (kSparseRange + kLanes) * kW);
  const auto for_each_block = [&](bool values, const auto& work) HWY_ATTR {
    for (int64_t block = first / kBlock; block * kBlock < last; ++block) {
      const int64_t begin = std::max(first, block * kBlock), end = std::min(last, (block + 1) * kBlock);
      // The parts of a head lie a block apart, which no processor foresees.
      if ((block + 2) * kBlock < last) FetchPart(args.layout, s.blocks[block + 2], item.kv_head, values);
      work(sparse_part(args.layout, s.blocks[block], item.kv_head, values), begin - block * kBlock,
           end - block * kBlock, scores + (begin - first) * kW);
    }
  };
  const float factor = args.scale * kLog2OfE;
  for_each_block(false, [&](const SparsePart& part, int64_t begin, int64_t end, float* at) HWY_ATTR {
    ScoreBlock<kKind, kWidth>(part, args.layout.key_sparsity, item.products, begin, end, factor, at);
  });
  float* tops = item.tops + range * 2 * kW;
  SoftmaxPositions<kWidth>(scores, last - first, tops, tops + kW);
  float* sums = item.sums + range * args.value_atoms * kW;
  std::fill_n(sums, args.value_atoms * kW, 0.0F);
  for_each_block(true, [&](const SparsePart& part, int64_t begin, int64_t end, const float* at) HWY_ATTR {
    SumBlock<kKind, kWidth>(part, args.layout.value_sparsity, at, begin, end, sums);
  });
}

template <Coefficients kKind>
void AttendRangeOf(const SparseAttention& args, const SparseItem& item, int64_t range) {
  switch (item.width) {
    case 1:
      return AttendRange<kKind, 1>(args, item, range);
    case 2:
      return AttendRange<kKind, 2>(args, item, range);
    case 4:
      return AttendRange<kKind, 4>(args, item, range);
    case 8:
      return AttendRange<kKind, 8>(args, item, range);
    default:
      return AttendRange<kKind, 16>(args, item, range);
  }
}

inline void AttendRangeOfItem(const SparseAttention& args, const SparseItem& item, int64_t range) {
  switch (args.layout.coefficients) {
    case Coefficients::ladder:
      return AttendRangeOf<Coefficients::ladder>(args, item, range);
    case Coefficients::ladder5:
      return AttendRangeOf<Coefficients::ladder5>(args, item, range);
    case Coefficients::ladder6:
      return AttendRangeOf<Coefficients::ladder6>(args, item, range);
    default:
      return AttendRangeOf<Coefficients::integer>(args, item, range);
  }
}

/// The factor of each range's weights: 2^(its top - the highest), [ranges, width].
inline void RangeFactors(const SparseItem& item, float* factors, float* highest) {
  for (int64_t h = 0; h < item.width; ++h) {
    highest[h] = -INFINITY;
    for (int64_t range = 0; range < item.ranges; ++range)
      highest[h] = std::max(highest[h], item.tops[range * 2 * item.width + h]);
    for (int64_t range = 0; range < item.ranges; ++range) {
      factors[range * item.width + h] = std::exp2(item.tops[range * 2 * item.width + h] - highest[h]);
    }
  }
}

/// The share of a slice of atoms in the outputs of an item.
void MultiplySums(const SparseAttention& args, const SparseItem& item, int64_t slice) {
  const int64_t dim = args.head_dim, width = item.width;
  const int64_t first = slice * kAtomSlice, atoms = std::min(args.value_atoms - first, kAtomSlice);
  float* factors = scratch(Scratch::left, item.ranges * width);
  float highest[kMostGroup];
  RangeFactors(item, factors, highest);
  // The sums of the ranges, in order. Factors repeat over a vector, or over several where the width is greater.
  float* sums = scratch(Scratch::right, kAtomSlice * width + kLanes);
  const Full d;
  const int64_t pattern = std::max(width, kLanes);
  for (int64_t at = 0; at < pattern; at += kLanes) {
    float lanes[kMostGroup > kLanes ? kMostGroup : kLanes];
    for (int64_t range = 0; range < item.ranges; ++range) {
      for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] = factors[range * width + (at + lane) % width];
      const auto factor = hn::LoadU(d, lanes);
      const float* from = item.sums + (range * args.value_atoms + first) * width;
      int64_t i = at;
      for (; i + kLanes <= atoms * width; i += pattern) {
        const auto before = range == 0 ? hn::Zero(d) : hn::LoadU(d, sums + i);
        hn::StoreU(hn::MulAdd(factor, hn::LoadU(d, from + i), before), d, sums + i);
      }
      for (; i < atoms * width; ++i) {  // the last atoms, where they fill no vector
        const One one;
        const auto before = range == 0 ? hn::Zero(one) : hn::LoadU(one, sums + i);
        hn::StoreU(hn::MulAdd(hn::Set(one, factors[range * width + i % width]), hn::LoadU(one, from + i), before), one,
                   sums + i);
      }
    }
  }
  float* out = item.partial + slice * item.heads * dim;
  const uint16_t* rows = args.value_rows + first * dim;
  for (int64_t h = 0; h < item.heads; h += 4) {
    const int64_t heads = std::min<int64_t>(4, item.heads - h);
    int64_t i = 0;
    const auto vectors = [&]<std::size_t kVectors>(std::integral_constant<std::size_t, kVectors>) HWY_ATTR {
      float* to = out + h * dim + i;
      if (heads == 4) SumRows<4, kVectors>(rows + i, dim, atoms, sums + h, width, to);
      if (heads == 3) SumRows<3, kVectors>(rows + i, dim, atoms, sums + h, width, to);
      if (heads == 2) SumRows<2, kVectors>(rows + i, dim, atoms, sums + h, width, to);
      if (heads == 1) SumRows<1, kVectors>(rows + i, dim, atoms, sums + h, width, to);
      i += static_cast<int64_t>(kVectors) * kLanes;
    };
    while (i + 2 * kLanes <= dim) vectors(std::integral_constant<std::size_t, 2>());
    while (i + kLanes <= dim) vectors(std::integral_constant<std::size_t, 1>());
    if (i < dim) SumRowsTail(rows, dim, i, atoms, sums + h, width, heads, out + h * dim);
  }
}

/// Outputs and log-sums of an item.
void FinishItem(const SparseAttention& args, const SparseItem& item, int64_t slices) {
  const int64_t dim = args.head_dim, width = item.width;
  float* factors = scratch(Scratch::left, item.ranges * width);
  float highest[kMostGroup];
  RangeFactors(item, factors, highest);
  const SparseAttentionSequence& s = *item.sequence;
  for (int64_t h = 0; h < item.heads; ++h) {
    float sum = 0;
    for (int64_t range = 0; range < item.ranges; ++range) {
      sum += factors[range * width + h] * item.tops[(range * 2 + 1) * width + h];
    }
    float* out = s.out + (item.row * args.heads + item.head + h) * dim;
    const float* mean = args.value_mean == nullptr ? nullptr : args.value_mean + item.kv_head * dim;
    ForEachVector(dim, [&](auto d, int64_t i) HWY_ATTR {
      auto total = hn::Zero(d);
      for (int64_t slice = 0; slice < slices; ++slice) {
        total = hn::Add(total, hn::LoadU(d, item.partial + (slice * item.heads + h) * dim + i));
      }
      total = hn::Mul(total, hn::Set(d, 1 / sum));
      hn::StoreU(mean == nullptr ? total : hn::Add(total, hn::LoadU(d, mean + i)), d, out + i);
    });
    float shift = 0;
    if (args.key_mean != nullptr) {
      const float* q = item.query(args, h);
      const float* key = args.key_mean + item.kv_head * dim;
      shift = args.scale * kLog2OfE * SumOf(dim, [&](auto d, int64_t i) HWY_ATTR {
                return hn::Mul(hn::LoadU(d, q + i), hn::LoadU(d, key + i));
              });
    }
    s.log_sums[item.row * args.heads + item.head + h] = highest[h] + std::log2(sum) + shift;
  }
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace incontext::kernels {

HWY_EXPORT(MultiplyAtoms);
HWY_EXPORT(AttendRangeOfItem);
HWY_EXPORT(MultiplySums);
HWY_EXPORT(FinishItem);

namespace {

int64_t power_of_two(int64_t least) {
  int64_t width = 1;
  while (width < least) width *= 2;
  return width;
}

/// Items of the call, without memory.
std::vector<SparseItem> items_of(const SparseAttention& args) {
  std::vector<SparseItem> items;
  const int64_t group = args.heads / args.layout.kv_heads;
  for (const SparseAttentionSequence& s : args.sequences) {
    base::check(0 <= s.first && s.first < s.last, "[sparse_attention] expected some positions, got {} to {}", s.first,
                s.last);
    const int64_t first_range = s.first / kSparseRange;
    const int64_t ranges = (s.last - 1) / kSparseRange - first_range + 1;
    for (int64_t row = 0; row < s.count; ++row) {
      for (int64_t kv_head = 0; kv_head < args.layout.kv_heads; ++kv_head) {
        for (int64_t head = 0; head < group; head += kMostGroup) {
          const int64_t heads = std::min(kMostGroup, group - head);
          items.push_back({.sequence = &s,
                           .row = row,
                           .head = kv_head * group + head,
                           .heads = heads,
                           .kv_head = kv_head,
                           .width = power_of_two(heads),
                           .first_range = first_range,
                           .ranges = ranges});
        }
      }
    }
  }
  return items;
}

void attend_items(const SparseAttention& args, std::span<SparseItem> items, base::ThreadPool& pool) {
  const int64_t padded_atoms = args.padded_key_atoms();
  const int64_t key_slices = (args.key_atoms + kAtomSlice - 1) / kAtomSlice;
  const int64_t value_slices = (args.value_atoms + kAtomSlice - 1) / kAtomSlice;
  int64_t floats = 0;
  std::vector<std::pair<std::size_t, int64_t>> pieces;  // item, range
  for (std::size_t i = 0; i < items.size(); ++i) {
    const SparseItem& item = items[i];
    floats += padded_atoms * item.width + item.ranges * (args.value_atoms + 2) * item.width +
              value_slices * item.heads * args.head_dim;
    for (int64_t range = 0; range < item.ranges; ++range) pieces.emplace_back(i, range);
  }
  float* memory = scratch(Scratch::shared, floats);
  for (SparseItem& item : items) {
    item.products = memory;
    item.sums = item.products + padded_atoms * item.width;
    item.tops = item.sums + item.ranges * args.value_atoms * item.width;
    item.partial = item.tops + item.ranges * 2 * item.width;
    memory = item.partial + value_slices * item.heads * args.head_dim;
  }
  pool.run(key_slices, [&](int64_t slice, int) { HWY_DYNAMIC_DISPATCH(MultiplyAtoms)(args, items, slice); });
  pool.run(static_cast<int64_t>(pieces.size()), [&](int64_t piece, int) {
    const auto [item, range] = pieces[static_cast<std::size_t>(piece)];
    HWY_DYNAMIC_DISPATCH(AttendRangeOfItem)(args, items[item], range);
  });
  pool.run(static_cast<int64_t>(items.size()) * value_slices, [&](int64_t piece, int) {
    HWY_DYNAMIC_DISPATCH(MultiplySums)
    (args, items[static_cast<std::size_t>(piece / value_slices)], piece % value_slices);
  });
  pool.run(static_cast<int64_t>(items.size()), [&](int64_t item, int) {
    HWY_DYNAMIC_DISPATCH(FinishItem)(args, items[static_cast<std::size_t>(item)], value_slices);
  });
}

}  // namespace

void sparse_attention(const SparseAttention& args, base::ThreadPool& pool) {
  const SparseLayout& layout = args.layout;
  base::check(layout.kv_heads >= 1 && args.heads % layout.kv_heads == 0 && args.head_dim >= 1 && args.scale >= 0,
              "[sparse_attention] expected heads to be a multiple of kv_heads, got {} and {}", args.heads,
              layout.kv_heads);
  const int64_t most = layout.most_atoms();
  base::check(layout.coefficients != Coefficients::exact && 1 <= args.key_atoms && args.key_atoms <= most &&
                  1 <= args.value_atoms && args.value_atoms <= most,
              "[sparse_attention] expected rounded coefficients and 1 to {} atoms, got {} and {}", most, args.key_atoms,
              args.value_atoms);
  apply_environment();
  std::vector<SparseItem> items = items_of(args);
  // So many at once that what they hold of atoms stays in the cache.
  constexpr std::size_t kAtOnce = 16;
  for (std::size_t first = 0; first < items.size(); first += kAtOnce) {
    attend_items(args, std::span(items).subspan(first, std::min(kAtOnce, items.size() - first)), pool);
  }
}

}  // namespace incontext::kernels
#endif

#include "kernels/cache_attention.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "base/error.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/scratch.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/cache_attention.cpp"
#include <hwy/foreach_target.h>  // must come first
#include <hwy/highway.h>

#include "kernels/cpu/cache_attention-inl.h"

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {

constexpr int64_t kGroupRows = 4;        // rows that are taken together
constexpr int64_t kBlockRows = 128;      // of a piece of a prompt, for which keys and values are converted once
constexpr int64_t kFewRows = 8;          // up to here they are read straight from the cache
constexpr int64_t kFewSplits = 4;        // the fewest that a piece of a long sequence has
constexpr int64_t kPiecesOfThread = 16;  // so many leave a thread little to wait for at the end

/// Some tokens of one sequence and the query heads of one KV head, over some splits. Row r is token r / group, head
/// r % group of the group.
struct AttentionPiece {
  std::size_t sequence = 0;
  int64_t kv_head = 0, token = 0, tokens = 0, split = 0, splits = 0;
  float* partial = nullptr;  // [splits, rows, 2 + width] for the combination, or null when the piece has all splits
};

/// A head filled up to whole units.
HWY_INLINE int64_t PaddedWidth(const CacheAttention& args) {
  const int64_t unit = args.storage == Storage::bf16 ? kUnit<Storage::bf16> : kLanes;
  return (args.head_dim + unit - 1) / unit * unit;
}

/// The positions that a token sees.
HWY_INLINE Seen SeenBy(const CacheAttention& args, const CacheAttentionSequence& s, int64_t token) {
  const int64_t last = s.first_position + token + 1;
  return {args.window > 0 ? std::max<int64_t>(0, last - args.window) : 0, last};
}

/// What a token sees of a split, relative to the start of the split; empty ranges end where they begin.
HWY_INLINE Seen SeenOfSplit(Seen seen, int64_t split) {
  const int64_t first = std::clamp<int64_t>(seen.first - split * kSplit, 0, kSplit);
  return {first, std::clamp<int64_t>(seen.last - split * kSplit, first, kSplit)};
}

/// The rows of a piece with what they have summed up, the latter in the order of units of the cache's storage.
struct AttentionRows {
  const CacheAttention& args;
  const AttentionPiece& piece;
  int64_t group, count, width;
  SplitSums* totals;  // [count]
  float* values;      // [count, width], 0 behind head_dim
};

/// Where row r of a piece lies in q and out, whose tokens are `stride` apart.
HWY_INLINE int64_t PlaceOf(const AttentionRows& block, int64_t r, int64_t stride) {
  const int64_t head = block.piece.kv_head * block.group + r % block.group;
  return (block.piece.token + r / block.group) * stride + head * block.args.head_dim;
}

inline void KeepLogSum(const AttentionRows& block, int64_t r, const SplitSums& total) {
  const CacheAttentionSequence& s = block.args.sequences[block.piece.sequence];
  if (s.log_sums == nullptr) return;
  const int64_t head = block.piece.kv_head * block.group + r % block.group;
  s.log_sums[(block.piece.token + r / block.group) * block.args.heads + head] = total.top + std::log2(total.sum);
}

/// AttentionRows [first, first + rows) over one split, keys and values in some storage, straight from the cache or,
/// when kCopied, by way of a copy.
template <Storage kStorage, bool kCopied, std::size_t kRows>
void AttendRows(const AttentionRows& block, int64_t first, int64_t rows, int64_t split, const Element<kStorage>* keys,
                const SplitValues<kStorage>& values) {
  const CacheAttention& args = block.args;
  const CacheAttentionSequence& s = args.sequences[block.piece.sequence];
  const float* q[kRows];
  Seen seen[kRows];
  Seen range{kSplit, 0};
  for (std::size_t r = 0; r < kRows; ++r) {
    const int64_t row = first + std::min(static_cast<int64_t>(r), rows - 1);
    q[r] = s.q + PlaceOf(block, row, args.q_stride);
    seen[r] = SeenOfSplit(SeenBy(args, s, block.piece.token + row / block.group), split);
    if (seen[r].first == seen[r].last) continue;
    range.first = std::min(range.first, seen[r].first);
    range.last = std::max(range.last, seen[r].last);
  }
  if (range.first >= range.last) return;
  float* p = scratch(Scratch::scores, kSplit * kGroupRows);
  ScoreSplit<kStorage, kRows, !kCopied>(q, keys, args.head_dim, range, p);
  SplitSums sums[kRows];
  for (std::size_t r = 0; r < kRows; ++r) {
    sums[r] = SoftmaxRow(p + static_cast<int64_t>(r) * kSplit, seen[r], range, args.scale * kLog2E);
  }
  float* sum = scratch(Scratch::extra, kGroupRows * block.width);
  SumValues<kStorage, kRows, !kCopied>(p, values, block.width / kLanes, range, sum, block.width);
  for (int64_t r = 0; r < rows; ++r) {
    MergeSplit(sums[r], sum + r * block.width, block.width, block.totals[first + r],
               block.values + (first + r) * block.width);
  }
}

template <Storage kStorage, bool kCopied>
void AttendSplit(const AttentionRows& block, int64_t split, const Element<kStorage>* keys,
                 const SplitValues<kStorage>& values) {
  for (int64_t r = 0; r < block.count; r += kGroupRows) {
    const int64_t rows = std::min(kGroupRows, block.count - r);
    if (rows == 1) {
      AttendRows<kStorage, kCopied, 1>(block, r, rows, split, keys, values);
    } else {
      AttendRows<kStorage, kCopied, kGroupRows>(block, r, rows, split, keys, values);
    }
  }
}

/// The keys of the blocks of a split that hold a range, as fp32 blocks; the others are left unspecified.
template <Storage kStorage>
const float* ConvertKeys(const Element<kStorage>* keys, int64_t head_dim, Seen range, float* out) {
  constexpr int64_t kVectors = kUnitVectors<kStorage>;
  const Full d;
  for (int64_t row = range.first / kKeyBlock * head_dim; row < key_blocks(range.last) * head_dim; ++row) {
    for (int64_t v = 0; v < kBlockVectors; v += kVectors) {
      hn::Vec<Full> unit[static_cast<std::size_t>(kVectors)];
      LoadUnit<kStorage>(keys + row * kKeyBlock + v * kLanes, unit);
      for (int64_t i = 0; i < kVectors; ++i) {
        hn::StoreU(unit[i], d, out + row * kKeyBlock + PositionOf<kStorage>(v + i));
      }
    }
  }
  return out;
}

/// The values of a range of a split as fp32 in the order of units, with 0 behind head_dim; the others are left
/// unspecified.
template <Storage kStorage>
SplitValues<Storage::f32> ConvertValues(const SplitValues<kStorage>& values, int64_t head_dim, int64_t width,
                                        Seen range, float* out) {
  for (int64_t j = range.first; j < range.last; ++j) {
    ReadUnits<kStorage>(values.first + j * values.stride, head_dim, out + j * width);
  }
  return {out, width};
}

/// All rows of a piece over one split, straight from the cache or by way of a copy.
template <Storage kStorage>
void ReadSplit(const AttentionRows& block, int64_t split) {
  const CacheAttention& args = block.args;
  const CacheAttentionSequence& s = args.sequences[block.piece.sequence];
  const auto* keys =
      static_cast<const Element<kStorage>*>(s.keys[block.piece.kv_head]) + split * kSplit * args.head_dim;
  const auto* first_value = static_cast<const Element<kStorage>*>(s.values[block.piece.kv_head]);
  const SplitValues<kStorage> values{first_value + split * kSplit * args.value_stride, args.value_stride};
  if (block.count <= kFewRows && block.width == args.head_dim) {
    return AttendSplit<kStorage, false>(block, split, keys, values);
  }
  const Seen earliest = SeenBy(args, s, block.piece.token);
  const Seen latest = SeenBy(args, s, block.piece.token + block.piece.tokens - 1);
  const Seen range = SeenOfSplit({earliest.first, latest.last}, split);
  float* copies = scratch(Scratch::right, kSplit * (args.head_dim + block.width));
  const float* keys_copy = ConvertKeys<kStorage>(keys, args.head_dim, range, copies);
  const auto values_copy = ConvertValues(values, args.head_dim, block.width, range, copies + kSplit * args.head_dim);
  AttendSplit<Storage::f32, true>(block, split, keys_copy, values_copy);
}

void RunPiece(const CacheAttention& args, const AttentionPiece& piece) {
  const CacheAttentionSequence& s = args.sequences[piece.sequence];
  const int64_t group = args.heads / args.kv_heads;
  const int64_t width = PaddedWidth(args);
  const int64_t count = piece.tokens * group;
  std::vector<SplitSums> totals(static_cast<std::size_t>(count));
  AttentionRows block{args, piece, group, count, width, totals.data(), scratch(Scratch::gradients, count * width)};
  for (int64_t i = 0; i < piece.splits; ++i) {
    WithStorage(args.storage, [&](auto kind) HWY_ATTR { ReadSplit<kind>(block, piece.split + i); });
    if (piece.partial == nullptr) continue;
    float* to = piece.partial + i * count * (width + 2);
    for (int64_t r = 0; r < count; ++r, to += width + 2) {
      SplitSums& sums = totals[static_cast<std::size_t>(r)];
      to[0] = sums.top;
      to[1] = sums.sum;
      std::copy_n(block.values + r * width, width, to + 2);
      sums = {};
    }
  }
  if (piece.partial != nullptr) return;
  for (int64_t r = 0; r < count; ++r) {
    float* out = s.out + PlaceOf(block, r, args.out_stride);
    WithStorage(args.storage, [&](auto kind) HWY_ATTR {
      FinishRow<kind>(totals[static_cast<std::size_t>(r)], block.values + r * width, args.head_dim, out);
    });
    KeepLogSum(block, r, totals[static_cast<std::size_t>(r)]);
  }
}

/// The splits of one piece's rows, in order.
void CombinePiece(const CacheAttention& args, const AttentionPiece& all) {
  const CacheAttentionSequence& s = args.sequences[all.sequence];
  const int64_t group = args.heads / args.kv_heads;
  const int64_t width = PaddedWidth(args);
  const int64_t count = all.tokens * group;
  float* values = scratch(Scratch::gradients, width);
  const AttentionRows block{args, all, group, count, width, nullptr, nullptr};
  for (int64_t r = 0; r < count; ++r) {
    SplitSums total;
    for (int64_t i = 0; i < all.splits; ++i) {
      const float* from = all.partial + (i * count + r) * (width + 2);
      MergeSplit({from[0], from[1]}, from + 2, width, total, values);
    }
    float* out = s.out + PlaceOf(block, r, args.out_stride);
    WithStorage(args.storage, [&](auto kind) HWY_ATTR { FinishRow<kind>(total, values, args.head_dim, out); });
    KeepLogSum(block, r, total);
  }
}

/// The splits that some tokens of a sequence see.
inline void find_splits(const CacheAttention& args, AttentionPiece& piece) {
  const CacheAttentionSequence& s = args.sequences[piece.sequence];
  piece.split = SeenBy(args, s, piece.token).first / kSplit;
  const int64_t last = SeenBy(args, s, piece.token + piece.tokens - 1).last;
  piece.splits = (last + kSplit - 1) / kSplit - piece.split;
}

/// How the work is cut. A few queries over a long cache are cut along the cache and combined afterwards; more of them
/// are cut along the queries. No bit depends on which.
struct AttentionCuts {
  std::vector<AttentionPiece> pieces;
  std::vector<AttentionPiece> combined;  // whose pieces are cut along the cache
};

inline AttentionCuts cut_attention(const CacheAttention& args, int threads) {
  AttentionCuts cuts;
  const int64_t group = args.heads / args.kv_heads;
  const int64_t block = std::max<int64_t>(1, kBlockRows / group);
  int64_t partial_size = 0, cut_splits = 0;
  for (std::size_t i = 0; i < args.sequences.size(); ++i) {
    const int64_t count = args.sequences[i].count;
    if (count == 0) continue;
    for (int64_t g = 0; g < args.kv_heads; ++g) {
      AttentionPiece all{.sequence = i, .kv_head = g, .tokens = count};
      find_splits(args, all);
      if (threads > 1 && count <= block && all.splits > kFewSplits) {
        cuts.combined.push_back(all);
        cut_splits += all.splits;
        partial_size += all.splits * count * group * (PaddedWidth(args) + 2);
        continue;
      }
      // The last tokens, which see most, first, so that no thread is left alone with them at the end.
      for (int64_t token = (count - 1) / block * block; token >= 0; token -= block) {
        AttentionPiece piece{.sequence = i, .kv_head = g, .token = token, .tokens = std::min(block, count - token)};
        find_splits(args, piece);
        cuts.pieces.push_back(piece);
      }
    }
  }
  // Each piece begins with keys and values that nobody has fetched: no more pieces than keep the threads busy.
  const int64_t at_once = std::max(kFewSplits, cut_splits / (threads * kPiecesOfThread));
  float* partial = cuts.combined.empty() ? nullptr : scratch(Scratch::partial, partial_size);
  for (AttentionPiece& all : cuts.combined) {
    all.partial = partial;
    const int64_t split_size = all.tokens * group * (PaddedWidth(args) + 2);
    for (int64_t split = 0; split < all.splits; split += at_once) {
      AttentionPiece piece = all;
      piece.split += split;
      piece.splits = std::min(at_once, all.splits - split);
      piece.partial += split * split_size;
      cuts.pieces.push_back(piece);
    }
    partial += all.splits * split_size;
  }
  return cuts;
}

void CacheAttentionTarget(const CacheAttention& args, base::ThreadPool& pool) {
  const AttentionCuts cuts = cut_attention(args, pool.size());
  pool.run(static_cast<int64_t>(cuts.pieces.size()),
           [&](int64_t piece, int) { RunPiece(args, cuts.pieces[static_cast<std::size_t>(piece)]); });
  pool.run(static_cast<int64_t>(cuts.combined.size()),
           [&](int64_t piece, int) { CombinePiece(args, cuts.combined[static_cast<std::size_t>(piece)]); });
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace incontext::kernels {

HWY_EXPORT(CacheAttentionTarget);

namespace {

void check_cache_attention(const CacheAttention& args) {
  base::check(args.head_dim >= 1 && args.kv_heads >= 1 && args.heads >= 1 && args.heads % args.kv_heads == 0,
              "[cache_attention] expected head_dim of at least 1 and heads to be a multiple of kv_heads, got {}, {} "
              "and {}",
              args.head_dim, args.heads, args.kv_heads);
  base::check(args.value_stride >= args.head_dim,
              "[cache_attention] expected positions at least {} elements apart, got {}", args.head_dim,
              args.value_stride);
  base::check(args.window >= 0, "[cache_attention] expected a window of at least 0, got {}", args.window);
  base::check(args.scale >= 0, "[cache_attention] expected a scale of at least 0, got {}", args.scale);
  for (const CacheAttentionSequence& s : args.sequences) {
    base::check(s.count >= 0 && s.first_position >= 0,
                "[cache_attention] expected a count and a first position of at least 0, got {} and {}", s.count,
                s.first_position);
    const int64_t width = args.heads * args.head_dim;
    base::check(s.count <= 1 || (args.q_stride >= width && args.out_stride >= width),
                "[cache_attention] expected tokens of q and out at least {} apart, got {} and {}", width, args.q_stride,
                args.out_stride);
  }
}

}  // namespace

void cache_attention(const CacheAttention& args, base::ThreadPool& pool) {
  check_cache_attention(args);
  apply_environment();
  HWY_DYNAMIC_DISPATCH(CacheAttentionTarget)(args, pool);
}

void combine_attention(const CombineAttention& args) {
  for (int64_t r = 0; r < args.rows; ++r) {
    float* out = args.out + r / args.head_rows * args.out_stride + r % args.head_rows * args.width;
    const float* other = args.other + r * args.width;
    const float top = std::max(args.log_sums[r], args.other_log_sums[r]);
    const float a = std::exp2(args.log_sums[r] - top), b = std::exp2(args.other_log_sums[r] - top);
    const float keep = a / (a + b), take = b / (a + b);
    for (int64_t i = 0; i < args.width; ++i) out[i] = keep * out[i] + take * other[i];
    args.log_sums[r] = top + std::log2(a + b);
  }
}

}  // namespace incontext::kernels
#endif

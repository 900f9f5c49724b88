#include "kernels/code_attention.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "base/error.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/scratch.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/code_attention.cpp"
#include <hwy/foreach_target.h>  // must come first
#include <hwy/highway.h>

#include "kernels/cpu/cache_attention-inl.h"

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {

constexpr std::size_t kCodeRows = 4;        // queries that share what is decoded
constexpr int64_t kCodeRange = 4 * kSplit;  // part of the contract: what a piece of the work is, and the order of sums
constexpr int64_t kTiles = kCodeBlock / (2 * kLanes);  // of a row of codes, two vectors each
static_assert(kTiles >= 1);

/// The code of a row with which vector `vector` (0 or 1) of a tile begins. A tile's vectors share bytes where they can.
template <int kBits>
constexpr int64_t TileCode(int64_t tile, int64_t vector) {
  if (kBits == 8) return (2 * tile + vector) * kLanes;
  if (kBits == 4) return tile * kLanes + vector * 16;
  if (kLanes == 16) return vector * 16;
  constexpr int64_t kOfBytes = std::max<int64_t>(1, 8 / kLanes);  // tiles until all bytes were taken
  return tile % kOfBytes * kLanes + (tile / kOfBytes * 2 + vector) * 8;
}

/// The codes of a tile of a row, as fp32.
template <int kBits>
HWY_INLINE void LoadCodes(const uint8_t* row, int64_t tile, hn::Vec<Full> (&out)[2]) {
  const Full d;
  const hn::RebindToSigned<Full> di;
  const hn::Rebind<uint8_t, Full> d8;
  if constexpr (kBits == 8) {
    const auto* codes = reinterpret_cast<const int8_t*>(row) + 2 * tile * kLanes;
    const hn::Rebind<int8_t, Full> signed8;
    out[0] = hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(signed8, codes)));
    out[1] = hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(signed8, codes + kLanes)));
  } else if constexpr (kBits == 4) {
    const auto pairs = hn::PromoteTo(di, hn::LoadU(d8, row + tile * kLanes));
    out[0] = hn::ConvertTo(d, hn::And(pairs, hn::Set(di, 15)));
    out[1] = hn::ConvertTo(d, hn::ShiftRight<4>(pairs));
  } else {
    const auto mask = hn::Set(di, 3);
#if HWY_TARGET <= HWY_AVX3
    // Eight bytes twice; the upper half of the lanes takes the next two bits of each.
    const hn::Half<decltype(d8)> d8_half;
    const auto bytes = hn::LoadU(d8_half, row);
    const auto quads = hn::PromoteTo(di, hn::Combine(d8, bytes, bytes));
    const auto upper = hn::IfThenElseZero(hn::Gt(hn::Iota(di, 0), hn::Set(di, 7)), hn::Set(di, 2));
    const auto shifted = hn::Shr(quads, upper);
    out[0] = hn::ConvertTo(d, hn::And(shifted, mask));
    out[1] = hn::ConvertTo(d, hn::And(hn::ShiftRight<4>(shifted), mask));
#else
    constexpr int64_t kOfBytes = std::max<int64_t>(1, 8 / kLanes);
    const auto quads = hn::PromoteTo(di, hn::LoadU(d8, row + tile % kOfBytes * kLanes));
    const auto shifted = tile < kOfBytes ? quads : hn::ShiftRight<4>(quads);
    out[0] = hn::ConvertTo(d, hn::And(shifted, mask));
    out[1] = hn::ConvertTo(d, hn::And(hn::ShiftRight<2>(shifted), mask));
#endif
  }
}

template <std::size_t kRows>
using TileSums = hn::Vec<Full>[kRows][2];

/// sums[r] += factors[r][i] * row i of codes, for a tile and i < count, in order. Meanwhile as many bytes are fetched
/// from `ahead` on as there are rows here, for the share of a tile in them.
template <int kBits, std::size_t kRows>
HWY_INLINE void AddCodeRows(const float* const* factors, const uint8_t* rows, int64_t count, int64_t tile,
                            const uint8_t* ahead, TileSums<kRows>& sums) {
  constexpr int64_t kRowBytes = kCodeBlock * kBits / 8, kLine = 64;
  constexpr int64_t kRowsOfLine = kTiles * kLine / kRowBytes;
  const Full d;
  const auto step = [&](int64_t i) HWY_ATTR {
    hn::Vec<Full> codes[2];
    LoadCodes<kBits>(rows + i * kRowBytes, tile, codes);
#pragma GCC unroll 4
    for (std::size_t r = 0; r < kRows; ++r) {
      const auto factor = hn::Set(d, factors[r][i]);
      sums[r][0] = hn::MulAdd(factor, codes[0], sums[r][0]);
      sums[r][1] = hn::MulAdd(factor, codes[1], sums[r][1]);
    }
  };
  int64_t i = 0;
  for (; i + kRowsOfLine <= count; i += kRowsOfLine, ahead += kLine) {
    hwy::Prefetch(ahead);
#pragma GCC unroll 4
    for (int64_t j = 0; j < kRowsOfLine; ++j) step(i + j);
  }
  for (; i < count; ++i) step(i);
}

/// The part of so many rows that AddCodeRows fetches for a tile.
HWY_INLINE int64_t FetchedBytes(const IntegerCodes& codes, int64_t rows) { return rows * codes.row_bytes() / kTiles; }

/// A few queries of one KV head, and its codes.
template <std::size_t kRows>
struct CodeRows {
  const CodeAttention& args;
  const uint8_t* keys;    // of block 0
  const uint8_t* values;  // of block 0
  const float* q[kRows];
  Seen seen;   // of a split
  Seen whole;  // the blocks that hold it
  int64_t split;
  int64_t fetched;  // so far ahead lie the keys that are fetched while values are read: in the next split, if any

  const uint8_t* block(const uint8_t* part, int64_t position) const {
    return part + (split * kSplit + position) / kCodeBlock * args.block_bytes;
  }
};

HWY_INLINE hn::Vec<Full> LoadHalves(const uint16_t* from) { return LoadStored<Storage::f16>(Full(), from); }

/// scores[r * kSplit + j] = q[r]·keys[j] where every token has its scales.
template <int kBits, std::size_t kRows>
void ScoreTokenCodes(const CodeRows<kRows>& rows, float* scores) {
  const Full d;
  const IntegerCodes& codes = rows.args.keys;
  const int64_t head_dim = rows.args.head_dim, groups = codes.groups(head_dim);
  // Codes that count from 0 stand for ones that are less: what that makes of a query is the same for all positions.
  float* base = scratch(Scratch::sums, static_cast<int64_t>(kRows) * groups);
  for (std::size_t r = 0; r < kRows; ++r) {
    for (int64_t g = 0; g < groups; ++g) {
      float sum = 0;
      for (int64_t k = g * codes.group; k < std::min((g + 1) * codes.group, head_dim); ++k) sum += rows.q[r][k];
      base[static_cast<int64_t>(r) * groups + g] = -static_cast<float>(codes.offset()) * sum;
    }
  }
  for (int64_t j = rows.whole.first; j < rows.whole.last; j += kCodeBlock) {
    const uint8_t* data = rows.block(rows.keys, j);
    const auto* scales = reinterpret_cast<const uint16_t*>(data);
    const uint8_t* first_row = data + codes.row_start(head_dim, 0);
    const uint8_t* ahead = rows.block(rows.values, j);
    for (int64_t tile = 0; tile < kTiles; ++tile) {
      for (int64_t g = 0; g < groups; ++g) {
        const int64_t k = g * codes.group;
        const float* factors[kRows];
        TileSums<kRows> sums;
#pragma GCC unroll 4
        for (std::size_t r = 0; r < kRows; ++r) {
          factors[r] = rows.q[r] + k;
          sums[r][0] = sums[r][1] = hn::Set(d, base[static_cast<int64_t>(r) * groups + g]);
        }
        const int64_t count = std::min(codes.group, head_dim - k);
        AddCodeRows<kBits, kRows>(factors, first_row + k * codes.row_bytes(), count, tile, ahead, sums);
        ahead += FetchedBytes(codes, count);
#pragma GCC unroll 2
        for (int64_t v = 0; v < 2; ++v) {
          const int64_t at = TileCode<kBits>(tile, v);
          const auto scale = LoadHalves(scales + g * kCodeBlock + at);
#pragma GCC unroll 4
          for (std::size_t r = 0; r < kRows; ++r) {
            float* to = scores + static_cast<int64_t>(r) * kSplit + j + at;
            const auto before = g == 0 ? hn::Zero(d) : hn::LoadU(d, to);
            hn::StoreU(hn::MulAdd(sums[r][v], scale, before), d, to);
          }
        }
      }
    }
  }
}

/// sum_k a[k] b[k] of floats and halves, in one fixed order.
HWY_INLINE float DotHalves(const float* a, const uint16_t* b, int64_t size) {
  const Full d;
  auto sum = hn::Zero(d);
  int64_t k = 0;
  for (; k + kLanes <= size; k += kLanes) sum = hn::MulAdd(hn::LoadU(d, a + k), LoadHalves(b + k), sum);
  float total = hn::GetLane(hn::SumOfLanes(d, sum));
  for (; k < size; ++k) total += a[k] * from_f16(b[k]);
  return total;
}

/// The same where every channel has its scale and its zero: q[r]·keys[j] = q[r]·zeros + sum_k (q[r, k] scale_k) c_jk.
template <int kBits, std::size_t kRows>
void ScoreChannelCodes(const CodeRows<kRows>& rows, float* scores) {
  const Full d;
  const IntegerCodes& codes = rows.args.keys;
  const int64_t head_dim = rows.args.head_dim;
  float* scaled = scratch(Scratch::left, static_cast<int64_t>(kRows) * head_dim);
  const float* factors[kRows];
  for (std::size_t r = 0; r < kRows; ++r) factors[r] = scaled + static_cast<int64_t>(r) * head_dim;
  for (int64_t j = rows.whole.first; j < rows.whole.last; j += kCodeBlock) {
    const uint8_t* data = rows.block(rows.keys, j);
    const auto* scales = reinterpret_cast<const uint16_t*>(data);
    const uint8_t* first_row = data + codes.row_start(head_dim, 0);
    float base[kRows];
    for (std::size_t r = 0; r < kRows; ++r) {
      float* to = scaled + static_cast<int64_t>(r) * head_dim;
      ForEachVector(head_dim, [&](auto tag, int64_t k) HWY_ATTR {
        hn::StoreU(hn::Mul(hn::LoadU(tag, rows.q[r] + k), LoadStored<Storage::f16>(tag, scales + k)), tag, to + k);
      });
      float zero = 0;
      if (codes.zeros) {
        zero = DotHalves(rows.q[r], scales + head_dim, head_dim);
      } else {
        for (int64_t k = 0; k < head_dim; ++k) zero -= static_cast<float>(codes.offset()) * to[k];
      }
      base[r] = zero;
    }
    for (int64_t tile = 0; tile < kTiles; ++tile) {
      TileSums<kRows> sums;
#pragma GCC unroll 4
      for (std::size_t r = 0; r < kRows; ++r) sums[r][0] = sums[r][1] = hn::Set(d, base[r]);
      AddCodeRows<kBits, kRows>(factors, first_row, head_dim, tile,
                                rows.block(rows.values, j) + tile * FetchedBytes(codes, head_dim), sums);
#pragma GCC unroll 4
      for (std::size_t r = 0; r < kRows; ++r) {
        float* to = scores + static_cast<int64_t>(r) * kSplit + j;
        hn::StoreU(sums[r][0], d, to + TileCode<kBits>(tile, 0));
        hn::StoreU(sums[r][1], d, to + TileCode<kBits>(tile, 1));
      }
    }
  }
}

/// out[r * width + d] = sum over the split of p[r * kSplit + j] values[j, d]; p is 0 where nothing is seen.
template <int kBits, std::size_t kRows>
void SumCodes(const CodeRows<kRows>& rows, const float* p, int64_t width, float* out) {
  const Full d;
  const IntegerCodes& codes = rows.args.values;
  const int64_t head_dim = rows.args.head_dim;
  const int64_t scale_count = codes.scales(head_dim), first_row = codes.row_start(head_dim, 0);
  const int64_t fetched_bytes = FetchedBytes(codes, kCodeBlock);
  float* scaled = scratch(Scratch::left, static_cast<int64_t>(kRows) * kSplit);
  for (int64_t g = 0; g < codes.groups(head_dim); ++g) {
    float base[kRows];
    for (std::size_t r = 0; r < kRows; ++r) {
      const float* from = p + static_cast<int64_t>(r) * kSplit;
      float* to = scaled + static_cast<int64_t>(r) * kSplit;
      auto sum = hn::Zero(d);
      for (int64_t j = rows.whole.first; j < rows.whole.last; j += kCodeBlock) {
        const auto* scales = reinterpret_cast<const uint16_t*>(rows.block(rows.values, j)) + g * kCodeBlock;
        for (int64_t i = 0; i < kCodeBlock; i += kLanes) {
          const auto weight = hn::LoadU(d, from + j + i);
          const auto product = hn::Mul(weight, LoadHalves(scales + i));
          hn::StoreU(product, d, to + j + i);
          sum = codes.zeros ? hn::MulAdd(weight, LoadHalves(scales + scale_count + i), sum) : hn::Add(product, sum);
        }
      }
      const float total = hn::GetLane(hn::SumOfLanes(d, sum));
      base[r] = codes.zeros ? total : -static_cast<float>(codes.offset()) * total;
    }
    const int64_t last = std::min((g + 1) * codes.group, width);
    for (int64_t column = g * codes.group; column < last; column += kCodeBlock) {
      for (int64_t tile = 0; tile < kTiles; ++tile) {
        TileSums<kRows> sums;
#pragma GCC unroll 4
        for (std::size_t r = 0; r < kRows; ++r) sums[r][0] = sums[r][1] = hn::Set(d, base[r]);
        for (int64_t j = rows.whole.first; j < rows.whole.last; j += kCodeBlock) {
          const float* factors[kRows];
#pragma GCC unroll 4
          for (std::size_t r = 0; r < kRows; ++r) factors[r] = scaled + static_cast<int64_t>(r) * kSplit + j;
          const int64_t done = column * codes.row_bytes();
          const uint8_t* first = rows.block(rows.values, j) + first_row + done;
          const uint8_t* ahead = rows.block(rows.keys, j + rows.fetched) + done + tile * fetched_bytes;
          AddCodeRows<kBits, kRows>(factors, first, kCodeBlock, tile, ahead, sums);
        }
#pragma GCC unroll 4
        for (std::size_t r = 0; r < kRows; ++r) {
          float* to = out + static_cast<int64_t>(r) * width + column;
          hn::StoreU(sums[r][0], d, to + TileCode<kBits>(tile, 0));
          hn::StoreU(sums[r][1], d, to + TileCode<kBits>(tile, 1));
        }
      }
    }
  }
}

/// Calls work(std::integral_constant<int, bits>()).
template <class Work>
HWY_INLINE void WithBits(int bits, const Work& work) {
  switch (bits) {
    case 8:
      return work(std::integral_constant<int, 8>());
    case 4:
      return work(std::integral_constant<int, 4>());
    default:
      return work(std::integral_constant<int, 2>());
  }
}

/// The query rows of one KV head of one sequence over a range of positions. Row r is token r / group, head r % group of
/// the group.
struct CodePiece {
  std::size_t sequence = 0;
  int64_t kv_head = 0, range = 0;
  float* sums = nullptr;  // [rows, 2 + width]: highest score, denominator, sum of values
};

HWY_INLINE int64_t CodeWidth(const CodeAttention& args) { return IntegerCodes::subrows(args.head_dim) * kCodeBlock; }

/// Where row r of a KV head lies in q and out, whose tokens are `stride` apart.
HWY_INLINE int64_t PlaceOfCodeRow(const CodeAttention& args, int64_t kv_head, int64_t r, int64_t stride) {
  const int64_t group = args.heads / args.kv_heads;
  return r / group * stride + (kv_head * group + r % group) * args.head_dim;
}

/// Adds rows [first, first + count) of a split to what a piece has.
template <std::size_t kRows>
void AttendCodes(const CodeAttention& args, const CodePiece& piece, int64_t first, int64_t count, int64_t split) {
  const CodeAttentionSequence& s = args.sequences[piece.sequence];
  const int64_t width = CodeWidth(args), key_bytes = args.keys.bytes(args.head_dim);
  const auto* keys =
      reinterpret_cast<const uint8_t*>(s.codes) + piece.kv_head * (key_bytes + args.values.bytes(args.head_dim));
  CodeRows<kRows> rows{.args = args,
                       .keys = keys,
                       .values = keys + key_bytes,
                       .q = {},
                       .seen = {},
                       .whole = {},
                       .split = split,
                       .fetched = 0};
  rows.seen = {std::max<int64_t>(0, s.first - split * kSplit), std::min(kSplit, s.last - split * kSplit)};
  rows.whole = {rows.seen.first / kCodeBlock * kCodeBlock, (rows.seen.last + kCodeBlock - 1) / kCodeBlock * kCodeBlock};
  const int64_t next = (split + 1) * kSplit, last = std::min(s.last, (piece.range + 1) * kCodeRange);
  if (next + rows.whole.last <= (last + kCodeBlock - 1) / kCodeBlock * kCodeBlock) rows.fetched = kSplit;
  for (std::size_t r = 0; r < kRows; ++r) {
    const int64_t row = first + std::min(static_cast<int64_t>(r), count - 1);
    rows.q[r] = s.q + PlaceOfCodeRow(args, piece.kv_head, row, args.q_stride);
  }
  float* p = scratch(Scratch::scores, kSplit * static_cast<int64_t>(kRows));
  WithBits(args.keys.bits, [&](auto bits) HWY_ATTR {
    if (args.keys.group == 0) {
      ScoreChannelCodes<bits, kRows>(rows, p);
    } else {
      ScoreTokenCodes<bits, kRows>(rows, p);
    }
  });
  SplitSums sums[kRows];
  for (std::size_t r = 0; r < kRows; ++r) {
    sums[r] = SoftmaxRow(p + static_cast<int64_t>(r) * kSplit, rows.seen, rows.whole, args.scale * kLog2E);
  }
  float* added = scratch(Scratch::extra, static_cast<int64_t>(kRows) * width);
  WithBits(args.values.bits, [&](auto bits) HWY_ATTR { SumCodes<bits, kRows>(rows, p, width, added); });
  for (int64_t r = 0; r < count; ++r) {
    float* to = piece.sums + (first + r) * (width + 2);
    SplitSums total{to[0], to[1]};
    MergeSplit(sums[r], added + r * width, width, total, to + 2);
    to[0] = total.top;
    to[1] = total.sum;
  }
}

void RunCodePiece(const CodeAttention& args, const CodePiece& piece) {
  const CodeAttentionSequence& s = args.sequences[piece.sequence];
  const int64_t rows = s.count * (args.heads / args.kv_heads), width = CodeWidth(args);
  for (int64_t r = 0; r < rows; ++r) {
    piece.sums[r * (width + 2)] = SplitSums().top;
    piece.sums[r * (width + 2) + 1] = 0;
  }
  const int64_t first = std::max(s.first, piece.range * kCodeRange);
  const int64_t last = std::min(s.last, (piece.range + 1) * kCodeRange);
  constexpr auto kMost = static_cast<int64_t>(kCodeRows);
  for (int64_t split = first / kSplit; split * kSplit < last; ++split) {
    for (int64_t r = 0; r < rows; r += kMost) {
      const int64_t count = std::min(kMost, rows - r);
      if (count == 1) {
        AttendCodes<1>(args, piece, r, count, split);
      } else {
        AttendCodes<kCodeRows>(args, piece, r, count, split);
      }
    }
  }
}

/// Puts the ranges of one KV head of a sequence together, in order; `all` is the first of them.
void CombineCodePieces(const CodeAttention& args, const CodePiece& all, int64_t ranges) {
  const CodeAttentionSequence& s = args.sequences[all.sequence];
  const int64_t group = args.heads / args.kv_heads, rows = s.count * group, width = CodeWidth(args);
  float* values = scratch(Scratch::gradients, width);
  for (int64_t r = 0; r < rows; ++r) {
    SplitSums total;
    for (int64_t i = 0; i < ranges; ++i) {
      const float* from = all.sums + (i * rows + r) * (width + 2);
      MergeSplit({from[0], from[1]}, from + 2, width, total, values);
    }
    float* out = s.out + PlaceOfCodeRow(args, all.kv_head, r, args.out_stride);
    for (int64_t i = 0; i < args.head_dim; ++i) out[i] = values[i] / total.sum;
    if (s.log_sums != nullptr) {
      s.log_sums[r / group * args.heads + all.kv_head * group + r % group] = total.top + std::log2(total.sum);
    }
  }
}

void CodeAttentionTarget(const CodeAttention& args, base::ThreadPool& pool) {
  const int64_t group = args.heads / args.kv_heads, width = CodeWidth(args);
  const auto ranges_of = [](const CodeAttentionSequence& s) {
    return (s.last + kCodeRange - 1) / kCodeRange - s.first / kCodeRange;
  };
  int64_t size = 0;
  for (const CodeAttentionSequence& s : args.sequences) {
    size += ranges_of(s) * s.count * group * args.kv_heads * (width + 2);
  }
  if (size == 0) return;
  float* sums = scratch(Scratch::partial, size);
  std::vector<CodePiece> pieces, heads;
  for (std::size_t i = 0; i < args.sequences.size(); ++i) {
    const CodeAttentionSequence& s = args.sequences[i];
    if (s.count == 0) continue;
    // Heads share pages: those of a range follow each other, so that the pages are known when the next one reads them.
    const int64_t ranges = ranges_of(s), size_of_piece = s.count * group * (width + 2);
    for (int64_t range = 0; range < ranges; ++range) {
      for (int64_t g = 0; g < args.kv_heads; ++g) {
        pieces.push_back({.sequence = i,
                          .kv_head = g,
                          .range = s.first / kCodeRange + range,
                          .sums = sums + (g * ranges + range) * size_of_piece});
        if (range == 0) heads.push_back(pieces.back());
      }
    }
    sums += args.kv_heads * ranges * size_of_piece;
  }
  pool.run(static_cast<int64_t>(pieces.size()),
           [&](int64_t piece, int) { RunCodePiece(args, pieces[static_cast<std::size_t>(piece)]); });
  pool.run(static_cast<int64_t>(heads.size()), [&](int64_t head, int) {
    const CodePiece& all = heads[static_cast<std::size_t>(head)];
    CombineCodePieces(args, all, ranges_of(args.sequences[all.sequence]));
  });
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace incontext::kernels {

HWY_EXPORT(CodeAttentionTarget);

namespace {

void check_codes(const char* what, const IntegerCodes& codes, bool values) {
  const bool grouped = codes.group > 0 && codes.group % kCodeBlock == 0;
  base::check(
      (codes.bits == 8 || codes.bits == 4 || codes.bits == 2) && codes.values == values &&
          (values ? grouped : (grouped && !codes.zeros) || codes.group == 0),
      "[code_attention] expected {} of 8, 4 or 2 bits in groups of a multiple of 32, got {} bits and groups of {}",
      what, codes.bits, codes.group);
}

void check_code_attention(const CodeAttention& args) {
  base::check(args.head_dim >= 1 && args.kv_heads >= 1 && args.heads >= 1 && args.heads % args.kv_heads == 0,
              "[code_attention] expected head_dim of at least 1 and heads to be a multiple of kv_heads, got {}, {} "
              "and {}",
              args.head_dim, args.heads, args.kv_heads);
  check_codes("keys", args.keys, /*values=*/false);
  check_codes("values", args.values, /*values=*/true);
  base::check(args.scale >= 0, "[code_attention] expected a scale of at least 0, got {}", args.scale);
  const int64_t width = args.heads * args.head_dim;
  const int64_t block = args.kv_heads * (args.keys.bytes(args.head_dim) + args.values.bytes(args.head_dim));
  base::check(args.block_bytes >= block, "[code_attention] expected blocks at least {} bytes apart, got {}", block,
              args.block_bytes);
  for (const CodeAttentionSequence& s : args.sequences) {
    base::check(s.count >= 0 && 0 <= s.first && s.first < s.last,
                "[code_attention] expected a count of at least 0 and positions, got {} and {} to {}", s.count, s.first,
                s.last);
    base::check(s.count <= 1 || (args.q_stride >= width && args.out_stride >= width),
                "[code_attention] expected tokens of q and out at least {} apart, got {} and {}", width, args.q_stride,
                args.out_stride);
  }
}

}  // namespace

void code_attention(const CodeAttention& args, base::ThreadPool& pool) {
  check_code_attention(args);
  apply_environment();
  HWY_DYNAMIC_DISPATCH(CodeAttentionTarget)(args, pool);
}

}  // namespace incontext::kernels
#endif

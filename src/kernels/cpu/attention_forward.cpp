#include <algorithm>
#include <cmath>

#include "kernels/attention.h"
#include "kernels/cpu/attention_check.h"
#include "kernels/cpu/attention_tiles.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/scratch.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_forward.cpp"
#include <hwy/foreach_target.h>  // must come first
#include <hwy/highway.h>

#include "kernels/cpu/attention-inl.h"
#include "kernels/cpu/attention_rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {

/// Keys, transposed, and values of one sequence and KV head, from token `start` on, a multiple of kTileColumns.
struct ForwardHead {
  int64_t start;
  Panels keys;    // over tokens
  Panels values;  // over head_dim
};

/// Multiplies row r of a tile by factors[r].
template <std::size_t kRows, std::size_t kVectors, class V>
HWY_INLINE void ScaleRows(V (&tile)[kRows][kVectors], const float* factors) {
#pragma GCC unroll 16
  for (std::size_t r = 0; r < kRows; ++r) {
    const V factor = hn::Set(Full(), factors[r]);
#pragma GCC unroll 2
    for (std::size_t v = 0; v < kVectors; ++v) tile[r][v] = hn::Mul(tile[r][v], factor);
  }
}

/// Queries [first, first + rows) of one head: all their scores, then softmax, then the mean of values.
void ForwardBlock(const AttentionForward& args, const ForwardHead& head, int64_t b, int64_t h, int64_t first,
                  int64_t rows) {
  const AttentionShape& s = args.shape;
  const float factor = s.scale * kLog2E;
  // Scores are of keys from `start` on: columns count from there.
  const int64_t start = RoundDown(s.first_seen_by(first), kTileColumns);
  const int64_t keys = s.seen_by(first + rows - 1) - start;
  const int64_t stride = PaddedColumns(keys);
  float* scores = scratch(Scratch::scores, RoundUp(rows, kTileRows) * stride);
  float* factors = scratch(Scratch::extra, RoundUp(rows, kTileRows));
  const float* q = args.q.f32() + (b * s.queries() + first) * args.q_stride + h * s.head_dim;
  float* lse = args.log_sum_exp == nullptr ? nullptr : args.log_sum_exp + (b * s.heads + h) * s.queries() + first;
  for (int64_t j = 0; j < keys; j += kTileColumns) {
    const Panels panel = head.keys.skip((start - head.start + j) / kTileColumns);
    ForEachStrip(rows, [&](int64_t i, int64_t strip) HWY_ATTR {
      const int64_t seen = s.seen_by(first + i + strip - 1) - start;  // by the last query of the strip
      if (j >= seen || (s.window > 0 && j + kTileColumns <= s.first_seen_by(first + i) - start)) return;
      MultiplyPanels({q + i * args.q_stride, args.q_stride, 1}, strip, panel, s.head_dim,
                     std::min(kTileColumns, seen - j),
                     [&](int64_t, auto& tile) HWY_ATTR { StoreTile(tile, scores + i * stride + j, stride); });
    });
  }
  ForEachStrip(rows, [&](int64_t i, int64_t strip) HWY_ATTR {
    const int64_t from = s.first_seen_by(first + i) - start, seen = s.seen_by(first + i + strip - 1) - start;
    float* out = args.out.f32() + (b * s.queries() + first + i) * args.out_stride + h * s.head_dim;
    FetchRows<1>(out, args.out_stride, strip, s.head_dim);
    for (int64_t r = i; r < i + strip; ++r) {
      const RowSoftmax row = SoftmaxWindow(scores + r * stride, from, s.first_seen_by(first + r) - start,
                                           s.seen_by(first + r) - start, RoundUp(seen, kLanes), factor);
      factors[r] = 1 / row.sum;
      if (lse != nullptr) lse[r] = s.scale * row.highest + std::log(row.sum);
    }
    MultiplyPanels({scores + i * stride + from, stride, 1}, strip, head.values.row(start - head.start + from),
                   seen - from, s.head_dim, [&](int64_t d, auto& tile) HWY_ATTR {
                     ScaleRows(tile, factors + i);
                     EmitTile(tile, strip, s.head_dim - d, false, out + d, args.out_stride);
                   });
  });
}

/// Queries [first, last) of all heads that share a KV head.
void ForwardGroup(const AttentionForward& args, int64_t b, int64_t kv_head, int64_t first, int64_t last) {
  const AttentionShape& s = args.shape;
  const int64_t start = RoundDown(s.first_seen_by(first), kTileColumns);
  const int64_t tokens = s.seen_by(last - 1) - start;
  const int64_t token = b * s.time + start;
  float* keys = scratch(Scratch::left, PaddedColumns(tokens) * s.head_dim);
  float* values = scratch(Scratch::right, PaddedColumns(s.head_dim) * tokens);
  PackTransposed<kTileColumns>(args.k.f32() + token * args.k_stride + kv_head * s.head_dim, args.k_stride, s.head_dim,
                               tokens, keys, s.head_dim * kTileColumns);
  const ForwardHead head{start, PackedPanels(keys, s.head_dim),
                         PanelsOfRows(args.v.f32() + token * args.v_stride + kv_head * s.head_dim, args.v_stride,
                                      tokens, s.head_dim, values)};
  const int64_t group = s.heads / s.kv_heads;
  const int64_t at_once = QueriesAtOnce(tokens, s.head_dim);
  for (int64_t h = kv_head * group; h < (kv_head + 1) * group; ++h) {
    for (int64_t i = first; i < last; i += at_once) {
      ForwardBlock(args, head, b, h, i, std::min(at_once, last - i));
    }
  }
}

/// The same where some tensor lies in bf16: on copies in fp32 of what this piece of work reads and writes.
void ForwardGroupCopied(const AttentionForward& args, int64_t b, int64_t kv_head, int64_t first, int64_t last) {
  const AttentionShape& s = args.shape;
  const int64_t group = s.heads / s.kv_heads;
  const int64_t start = s.first_seen_by(first), tokens = s.seen_by(last - 1);
  const int64_t width = group * s.head_dim;  // of queries
  const int64_t token = b * s.time + start, row = b * s.queries();
  float* queries = scratch(Scratch::partial, 2 * s.queries() * width + 2 * tokens * s.head_dim);
  float* out = queries + s.queries() * width;
  float* keys = out + s.queries() * width;
  float* values = keys + tokens * s.head_dim;
  CopyRowsIn(args.q + (row + first) * args.q_stride + kv_head * width, args.q_stride, last - first, width,
             queries + first * width);
  CopyRowsIn(args.k + token * args.k_stride + kv_head * s.head_dim, args.k_stride, tokens - start, s.head_dim,
             keys + start * s.head_dim);
  CopyRowsIn(args.v + token * args.v_stride + kv_head * s.head_dim, args.v_stride, tokens - start, s.head_dim,
             values + start * s.head_dim);
  AttentionForward copied{.shape = s,
                          .q = queries,
                          .k = keys,
                          .v = values,
                          .q_stride = width,
                          .k_stride = s.head_dim,
                          .v_stride = s.head_dim,
                          .out = out,
                          .out_stride = width};
  copied.shape.batch = copied.shape.kv_heads = 1;
  copied.shape.heads = group;
  if (args.log_sum_exp != nullptr) {
    copied.log_sum_exp = args.log_sum_exp + (b * s.heads + kv_head * group) * s.queries();
  }
  ForwardGroup(copied, 0, 0, first, last);
  CopyRowsOut(out + first * width, last - first, width, args.out + (row + first) * args.out_stride + kv_head * width,
              args.out_stride);
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace incontext::kernels {

HWY_EXPORT(ForwardGroup);
HWY_EXPORT(ForwardGroupCopied);

void attention_forward(const AttentionForward& args, base::ThreadPool& pool) {
  const AttentionShape& s = args.shape;
  if (const TileStrip strip = usable_tile_strip(); strip != nullptr && attention_takes_tiles(args)) {
    return attention_forward_on_tiles(args, strip, pool);
  }
  check_attention("attention_forward", s);
  apply_environment();
  constexpr int64_t kQueries = 512;  // a longer sequence is cut, for the sake of threads
  const int64_t cuts = (s.queries() + kQueries - 1) / kQueries;
  const bool copied = args.q.is_bf16() || args.k.is_bf16() || args.v.is_bf16() || args.out.is_bf16();
  const auto group = copied ? HWY_DYNAMIC_DISPATCH(ForwardGroupCopied) : HWY_DYNAMIC_DISPATCH(ForwardGroup);
  pool.run(s.batch * s.kv_heads * cuts, [&](int64_t piece, int) {
    const int64_t first = piece % cuts * kQueries;
    const int64_t head = piece / cuts;
    group(args, head / s.kv_heads, head % s.kv_heads, first, std::min(s.queries(), first + kQueries));
  });
}

}  // namespace incontext::kernels
#endif

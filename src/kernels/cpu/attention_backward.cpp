#include <algorithm>
#include <cmath>

#include "kernels/attention.h"
#include "kernels/cpu/attention_check.h"
#include "kernels/cpu/attention_tiles.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/scratch.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_backward.cpp"
#include <hwy/foreach_target.h>  // must come first
#include <hwy/highway.h>

#include "kernels/cpu/attention-inl.h"
#include "kernels/cpu/attention_rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {

/// One sequence and KV head.
struct BackwardHead {
  Panels keys_t, values_t;  // over tokens
  Panels keys;              // over head_dim
};

/// A block of queries of one head.
struct Block {
  int64_t b, h, first, rows;
  int64_t start, end;  // keys whose gradients it adds to
  int64_t stride;      // of p and ds
  float* p;            // [rows, stride] probabilities
  float* ds;           // [rows, stride] gradients of scale * q·k, times scale
  Panels q, dout;      // of its rows, over head_dim
};

/// Fills p and ds of a block, and dq.
void QueryGradients(const AttentionBackward& args, const BackwardHead& head, const Block& block) {
  const AttentionShape& s = args.shape;
  const int64_t row = block.b * s.queries() + block.first;
  const int64_t column = block.h * s.head_dim;
  const float* lse = args.log_sum_exp + (block.b * s.heads + block.h) * s.queries() + block.first;
  // Columns outside of what a query sees are read by the products over tokens: they must be 0.
  ForEachStrip(block.rows, [&](int64_t i, int64_t strip) HWY_ATTR {
    const int64_t from = s.first_seen_by(block.first + i), seen = s.seen_by(block.first + i + strip - 1);
    const int64_t panel = RoundDown(from, kTileColumns);
    float* p = block.p + i * block.stride;
    float* ds = block.ds + i * block.stride;
    const float* q = args.q.f32() + (row + i) * args.q_stride + column;
    const float* dout = args.dout.f32() + (row + i) * args.dout_stride + column;
    const float* out = args.out.f32() + (row + i) * args.out_stride + column;
    float* dq = args.dq.f32() + (row + i) * args.dq_stride + column;
    FetchRows<0>(out, args.out_stride, strip, s.head_dim);
    FetchRows<1>(dq, args.dq_stride, strip, s.head_dim);
    MultiplyPanels({q, args.q_stride, 1}, strip, head.keys_t.skip(panel / kTileColumns), s.head_dim, seen - panel,
                   [&](int64_t j, auto& tile) HWY_ATTR { StoreTile(tile, p + panel + j, block.stride); });
    MultiplyPanels({dout, args.dout_stride, 1}, strip, head.values_t.skip(panel / kTileColumns), s.head_dim,
                   seen - panel,
                   [&](int64_t j, auto& tile) HWY_ATTR { StoreTile(tile, ds + panel + j, block.stride); });
    for (int64_t r = 0; r < strip; ++r) {
      const float delta = DotOf(dout + r * args.dout_stride, out + r * args.out_stride, s.head_dim);
      const int64_t query = block.first + i + r;
      BackwardWindow(p + r * block.stride, ds + r * block.stride, block.start, s.first_seen_by(query), s.seen_by(query),
                     RoundUp(block.end, kLanes), s.scale, lse[i + r], delta);
    }
    MultiplyPanels({ds + from, block.stride, 1}, strip, head.keys.row(from), seen - from, s.head_dim,
                   [&](int64_t d, auto& tile)
                       HWY_ATTR { EmitTile(tile, strip, s.head_dim - d, false, dq + d, args.dq_stride); });
  });
}

/// Adds what a block of queries gives to dk and dv: dv = pᵀ·dout, dk = dsᵀ·q. The first head of a group stores what
/// no earlier block has reached, which is what lies behind `reached`.
void KeyGradients(const AttentionBackward& args, const Block& block, bool first_head, int64_t reached, float* dk,
                  float* dv) {
  const AttentionShape& s = args.shape;
  ForEachStrip(block.end - block.start, [&](int64_t i, int64_t strip) HWY_ATTR {
    const int64_t j = block.start + i;
    // Queries before token j do not see it, nor do those that it has left the windows of.
    const int64_t skipped = std::clamp(s.first_seer(j) - block.first, int64_t{0}, block.rows);
    const int64_t seers = std::clamp(s.end_of_seers(j + strip) - block.first, skipped, block.rows) - skipped;
    const bool untouched = first_head && j >= reached;
    const auto product = [&](const float* weights, const Panels& right, float* to, int64_t stride) HWY_ATTR {
      MultiplyPanels({weights + skipped * block.stride + j, 1, block.stride}, strip, right.row(skipped), seers,
                     s.head_dim, [&](int64_t d, auto& tile) HWY_ATTR {
                       EmitTile(tile, strip, s.head_dim - d, !untouched, to + j * stride + d, stride);
                     });
    };
    FetchRows<1>(dv + j * args.dv_stride, args.dv_stride, strip, s.head_dim);
    FetchRows<1>(dk + j * args.dk_stride, args.dk_stride, strip, s.head_dim);
    product(block.p, block.dout, dv, args.dv_stride);
    product(block.ds, block.q, dk, args.dk_stride);
  });
}

/// All gradients of one sequence and KV head.
void BackwardGroup(const AttentionBackward& args, int64_t b, int64_t kv_head) {
  const AttentionShape& s = args.shape;
  const int64_t column = kv_head * s.head_dim;
  const int64_t token = b * s.time;
  const int64_t across = PaddedColumns(s.time) * s.head_dim;
  float* keys_t = scratch(Scratch::left, 2 * across);
  float* keys = scratch(Scratch::right, PaddedColumns(s.head_dim) * s.time);
  const float* k = args.k.f32() + token * args.k_stride + column;
  const float* v = args.v.f32() + token * args.v_stride + column;
  PackTransposed<kTileColumns>(k, args.k_stride, s.head_dim, s.time, keys_t, s.head_dim * kTileColumns);
  PackTransposed<kTileColumns>(v, args.v_stride, s.head_dim, s.time, keys_t + across, s.head_dim * kTileColumns);
  const BackwardHead head{PackedPanels(keys_t, s.head_dim), PackedPanels(keys_t + across, s.head_dim),
                          PanelsOfRows(k, args.k_stride, s.time, s.head_dim, keys)};

  // Rows of p and ds together: half the second-level cache, and for the products over queries at least 4 strips.
  const int64_t stride = PaddedColumns(s.time);
  const int64_t at_once = std::max(4 * kTileRows, 32768 / stride / kTileRows * kTileRows);
  const int64_t most = std::min(at_once, s.queries());
  float* probabilities = scratch(Scratch::scores, RoundUp(most, kTileRows) * stride);
  float* gradients = scratch(Scratch::gradients, RoundUp(most, kTileRows) * stride);
  float* packed = scratch(Scratch::extra, 2 * PaddedColumns(s.head_dim) * most);
  float* dk = args.dk.f32() + token * args.dk_stride + column;
  float* dv = args.dv.f32() + token * args.dv_stride + column;
  const int64_t group = s.heads / s.kv_heads;
  for (int64_t h = kv_head * group; h < (kv_head + 1) * group; ++h) {
    int64_t reached = 0;
    for (int64_t first = 0; first < s.queries(); first += at_once) {
      const int64_t row = b * s.queries() + first;
      const int64_t rows = std::min(at_once, s.queries() - first);
      const int64_t column_of_head = h * s.head_dim;
      const Panels q =
          PanelsOfRows(args.q.f32() + row * args.q_stride + column_of_head, args.q_stride, rows, s.head_dim, packed);
      const Panels dout = PanelsOfRows(args.dout.f32() + row * args.dout_stride + column_of_head, args.dout_stride,
                                       rows, s.head_dim, packed + PaddedColumns(s.head_dim) * rows);
      // Whole strips of keys, so that each strip is reached by a block as a whole or not at all. The first block begins
      // with those that no query sees, if there are any.
      const int64_t start = first == 0 ? 0 : RoundDown(s.first_seen_by(first), kTileRows);
      const int64_t end = std::min(s.time, RoundUp(s.keys_before(first + rows), kTileRows));
      const Block block{b, h, first, rows, start, end, stride, probabilities, gradients, q, dout};
      QueryGradients(args, head, block);
      KeyGradients(args, block, h == kv_head * group, reached, dk, dv);
      reached = end;
    }
  }
}

/// The same where some tensor lies in bf16: on copies in fp32.
void BackwardGroupCopied(const AttentionBackward& args, int64_t b, int64_t kv_head) {
  const AttentionShape& s = args.shape;
  const int64_t group = s.heads / s.kv_heads;
  const int64_t width = group * s.head_dim;  // of queries
  const int64_t queries = s.queries(), row = b * queries;
  const int64_t of_queries = queries * width, of_keys = s.time * s.head_dim;
  float* copies = scratch(Scratch::partial, 4 * (of_queries + of_keys));
  float* q = copies;
  float* out = q + of_queries;
  float* dout = out + of_queries;
  float* dq = dout + of_queries;
  float* k = dq + of_queries;
  float* v = k + of_keys;
  float* dk = v + of_keys;
  float* dv = dk + of_keys;
  const int64_t token = b * s.time, query_column = kv_head * width, column = kv_head * s.head_dim;
  CopyRowsIn(args.q + row * args.q_stride + query_column, args.q_stride, queries, width, q);
  CopyRowsIn(args.out + row * args.out_stride + query_column, args.out_stride, queries, width, out);
  CopyRowsIn(args.dout + row * args.dout_stride + query_column, args.dout_stride, queries, width, dout);
  CopyRowsIn(args.k + token * args.k_stride + column, args.k_stride, s.time, s.head_dim, k);
  CopyRowsIn(args.v + token * args.v_stride + column, args.v_stride, s.time, s.head_dim, v);
  AttentionBackward copied{.shape = s,
                           .q = q,
                           .k = k,
                           .v = v,
                           .q_stride = width,
                           .k_stride = s.head_dim,
                           .v_stride = s.head_dim,
                           .out = out,
                           .dout = dout,
                           .out_stride = width,
                           .dout_stride = width,
                           .log_sum_exp = args.log_sum_exp + (b * s.heads + kv_head * group) * queries,
                           .dq = dq,
                           .dk = dk,
                           .dv = dv,
                           .dq_stride = width,
                           .dk_stride = s.head_dim,
                           .dv_stride = s.head_dim};
  copied.shape.batch = copied.shape.kv_heads = 1;
  copied.shape.heads = group;
  BackwardGroup(copied, 0, 0);
  CopyRowsOut(dq, queries, width, args.dq + row * args.dq_stride + query_column, args.dq_stride);
  CopyRowsOut(dk, s.time, s.head_dim, args.dk + token * args.dk_stride + column, args.dk_stride);
  CopyRowsOut(dv, s.time, s.head_dim, args.dv + token * args.dv_stride + column, args.dv_stride);
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace incontext::kernels {

HWY_EXPORT(BackwardGroup);
HWY_EXPORT(BackwardGroupCopied);

void attention_backward(const AttentionBackward& args, base::ThreadPool& pool) {
  const AttentionShape& s = args.shape;
  if (const TileStrip strip = usable_tile_strip(); strip != nullptr && attention_takes_tiles(args)) {
    return attention_backward_on_tiles(args, strip, pool);
  }
  check_attention("attention_backward", s);
  if (s.time == 0) return;
  apply_environment();
  const bool copied = args.q.is_bf16() || args.k.is_bf16() || args.v.is_bf16() || args.out.is_bf16() ||
                      args.dout.is_bf16() || args.dq.is_bf16() || args.dk.is_bf16() || args.dv.is_bf16();
  const auto group = copied ? HWY_DYNAMIC_DISPATCH(BackwardGroupCopied) : HWY_DYNAMIC_DISPATCH(BackwardGroup);
  pool.run(s.batch * s.kv_heads, [&](int64_t piece, int) { group(args, piece / s.kv_heads, piece % s.kv_heads); });
}

}  // namespace incontext::kernels
#endif

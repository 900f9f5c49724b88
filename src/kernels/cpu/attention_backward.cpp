#include <algorithm>
#include <cmath>

#include "kernels/attention.h"
#include "kernels/cpu/attention_check.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/scratch.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_backward.cpp"
#include <hwy/foreach_target.h>  // must come first
#include <hwy/highway.h>

#include "kernels/cpu/attention-inl.h"

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {

/// One sequence and KV head: keys and values packed both ways.
struct BackwardHead {
  const float* keys_t;    // panels [head_dim, kTileColumns] over tokens
  const float* values_t;  // the same of v
  const float* keys;      // panels [time, kTileColumns] over head_dim
};

/// A block of queries of one head.
struct Block {
  int64_t b, h, first, rows;
  int64_t stride;     // of p and ds
  float* p;           // [rows, stride] probabilities
  float* ds;          // [rows, stride] gradients of scale * q·k, times scale
  const float* q;     // panels [rows, kTileColumns] over head_dim
  const float* dout;  // the same
};

/// Turns scores into probabilities p and dp into ds = scale p (dp - delta), for one row; 0 from count to padded.
void BackwardRow(float* p, float* ds, int64_t count, int64_t padded, float scale, float lse, float delta) {
  const Full d;
  const auto factor = hn::Set(d, scale * kLog2E);
  const auto shift = hn::Set(d, lse * kLog2E);
  const auto mean = hn::Set(d, delta);
  const auto scales = hn::Set(d, scale);
  const auto compute = [&](int64_t j, auto& probability, auto& gradient) HWY_ATTR {
    probability = Exp2(d, hn::MulSub(hn::Load(d, p + j), factor, shift));
    gradient = hn::Mul(hn::Mul(probability, scales), hn::Sub(hn::Load(d, ds + j), mean));
  };
  auto probability = hn::Zero(d);
  auto gradient = probability;
  int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes) {
    compute(j, probability, gradient);
    hn::Store(probability, d, p + j);
    hn::Store(gradient, d, ds + j);
  }
  if (j < count) {
    const auto in_range = hn::FirstN(d, static_cast<std::size_t>(count - j));
    compute(j, probability, gradient);
    hn::Store(hn::IfThenElseZero(in_range, probability), d, p + j);
    hn::Store(hn::IfThenElseZero(in_range, gradient), d, ds + j);
    j += kLanes;
  }
  for (; j < padded; j += kLanes) {
    hn::Store(hn::Zero(d), d, p + j);
    hn::Store(hn::Zero(d), d, ds + j);
  }
}

float DotOf(const float* a, const float* b, int64_t size) {
  auto sum = hn::Zero(Full());
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) sum = hn::MulAdd(hn::LoadU(Full(), a + i), hn::LoadU(Full(), b + i), sum);
  float total = hn::GetLane(hn::SumOfLanes(Full(), sum));
  for (; i < size; ++i) total += a[i] * b[i];
  return total;
}

/// Fills p and ds of a block, and dq.
void QueryGradients(const AttentionBackward& args, const BackwardHead& head, const Block& block) {
  const AttentionShape& s = args.shape;
  const int64_t token = block.b * s.time + block.first;
  const int64_t column = block.h * s.head_dim;
  const float* lse = args.log_sum_exp + (block.b * s.heads + block.h) * s.time + block.first;
  // Columns past what the last query of a strip sees are read by the products over tokens: they must be 0.
  const int64_t all = s.causal ? block.first + block.rows : s.time;
  ForEachStrip(block.rows, [&](int64_t i, int64_t strip) HWY_ATTR {
    const int64_t seen = s.causal ? block.first + i + strip : s.time;
    float* p = block.p + i * block.stride;
    float* ds = block.ds + i * block.stride;
    const float* q = args.q + (token + i) * args.q_stride + column;
    const float* dout = args.dout + (token + i) * args.dout_stride + column;
    const float* out = args.out + (token + i) * args.out_stride + column;
    float* dq = args.dq + (token + i) * args.dq_stride + column;
    FetchRows<0>(out, args.out_stride, strip, s.head_dim);
    FetchRows<1>(dq, args.dq_stride, strip, s.head_dim);
    MultiplyPanels({q, args.q_stride, 1}, strip, head.keys_t, s.head_dim, s.head_dim, seen,
                   [&](int64_t j, auto& tile) HWY_ATTR { StoreTile(tile, p + j, block.stride); });
    MultiplyPanels({dout, args.dout_stride, 1}, strip, head.values_t, s.head_dim, s.head_dim, seen,
                   [&](int64_t j, auto& tile) HWY_ATTR { StoreTile(tile, ds + j, block.stride); });
    for (int64_t r = 0; r < strip; ++r) {
      const float delta = DotOf(dout + r * args.dout_stride, out + r * args.out_stride, s.head_dim);
      const int64_t count = s.causal ? block.first + i + r + 1 : s.time;
      BackwardRow(p + r * block.stride, ds + r * block.stride, count, RoundUp(all, kLanes), s.scale, lse[i + r], delta);
    }
    MultiplyPanels({ds, block.stride, 1}, strip, head.keys, s.time, seen, s.head_dim,
                   [&](int64_t d, auto& tile)
                       HWY_ATTR { EmitTile(tile, strip, s.head_dim - d, false, dq + d, args.dq_stride); });
  });
}

/// Adds what a block of queries gives to dk and dv: dv = pᵀ·dout, dk = dsᵀ·q. The first head of a group stores what
/// no earlier block has reached.
void KeyGradients(const AttentionBackward& args, const Block& block, bool first_head, float* dk, float* dv) {
  const AttentionShape& s = args.shape;
  const auto product = [&](const float* weights, const float* right, int64_t j, int64_t strip, float* to,
                           int64_t stride) HWY_ATTR {
    // Queries before token j do not see it.
    const int64_t skipped = s.causal ? std::clamp(j - block.first, int64_t{0}, block.rows) : 0;
    const bool untouched = first_head && (s.causal ? j >= block.first : block.first == 0);
    MultiplyPanels({weights + skipped * block.stride + j, 1, block.stride}, strip, right + skipped * kTileColumns,
                   block.rows, block.rows - skipped, s.head_dim, [&](int64_t d, auto& tile) HWY_ATTR {
                     EmitTile(tile, strip, s.head_dim - d, !untouched, to + j * stride + d, stride);
                   });
  };
  ForEachStrip(s.causal ? block.first + block.rows : s.time, [&](int64_t j, int64_t strip) HWY_ATTR {
    FetchRows<1>(dv + j * args.dv_stride, args.dv_stride, strip, s.head_dim);
    FetchRows<1>(dk + j * args.dk_stride, args.dk_stride, strip, s.head_dim);
    product(block.p, block.dout, j, strip, dv, args.dv_stride);
    product(block.ds, block.q, j, strip, dk, args.dk_stride);
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
  const float* k = args.k + token * args.k_stride + column;
  const float* v = args.v + token * args.v_stride + column;
  PackTransposed<kTileColumns>(k, args.k_stride, s.head_dim, s.time, keys_t, s.head_dim * kTileColumns);
  PackTransposed<kTileColumns>(v, args.v_stride, s.head_dim, s.time, keys_t + across, s.head_dim * kTileColumns);
  PackRows<kTileColumns>(k, args.k_stride, s.time, s.head_dim, keys, s.time * kTileColumns);
  const BackwardHead head{keys_t, keys_t + across, keys};

  // Rows of p and ds together: half the second-level cache, and for the products over queries at least 4 strips.
  const int64_t stride = PaddedColumns(s.time);
  const int64_t at_once = std::max(4 * kTileRows, 32768 / stride / kTileRows * kTileRows);
  const int64_t most = std::min(at_once, s.time);
  float* probabilities = scratch(Scratch::scores, RoundUp(most, kTileRows) * stride);
  float* gradients = scratch(Scratch::gradients, RoundUp(most, kTileRows) * stride);
  float* packed = scratch(Scratch::extra, 2 * PaddedColumns(s.head_dim) * most);
  float* dk = args.dk + token * args.dk_stride + column;
  float* dv = args.dv + token * args.dv_stride + column;
  const int64_t group = s.heads / s.kv_heads;
  for (int64_t h = kv_head * group; h < (kv_head + 1) * group; ++h) {
    for (int64_t first = 0; first < s.time; first += at_once) {
      const int64_t rows = std::min(at_once, s.time - first);
      float* packed_dout = packed + PaddedColumns(s.head_dim) * rows;
      PackRows<kTileColumns>(args.q + (token + first) * args.q_stride + h * s.head_dim, args.q_stride, rows, s.head_dim,
                             packed, rows * kTileColumns);
      PackRows<kTileColumns>(args.dout + (token + first) * args.dout_stride + h * s.head_dim, args.dout_stride, rows,
                             s.head_dim, packed_dout, rows * kTileColumns);
      const Block block{b, h, first, rows, stride, probabilities, gradients, packed, packed_dout};
      QueryGradients(args, head, block);
      KeyGradients(args, block, h == kv_head * group, dk, dv);
    }
  }
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace incontext::kernels {

HWY_EXPORT(BackwardGroup);

void attention_backward(const AttentionBackward& args, base::ThreadPool& pool) {
  const AttentionShape& s = args.shape;
  check_attention("attention_backward", s);
  if (s.time == 0) return;
  apply_environment();
  const auto group = HWY_DYNAMIC_DISPATCH(BackwardGroup);
  pool.run(s.batch * s.kv_heads, [&](int64_t piece, int) { group(args, piece / s.kv_heads, piece % s.kv_heads); });
}

}  // namespace incontext::kernels
#endif

#pragma once

#include <cstdint>

#include "base/threads.h"
#include "kernels/array.h"
#include "kernels/reads.h"

namespace incontext::kernels {

/// Scaled dot-product attention over whole sequences, for training and prefill:
///   out[b, i, h] = sum_j softmax_j(scale * q[b, i, h]·k[b, j, g]) v[b, j, g],   g = h / (heads / kv_heads),
/// with j <= i when causal. Token t of sequence b starts at row b * time + t; head h of it at h * head_dim, so that
/// q, k and v may be views into one packed [batch, time, (heads + 2 kv_heads) * head_dim] projection.
/// Each tensor may lie in fp32 or bf16; arithmetic is in fp32, but that the factors of products of bf16 queries, keys,
/// values and dout are in bf16 where the processor has a unit for it (cpu/attention_tiles.h).
/// No [time, time] matrix is kept: a block of queries at a time, and the backward pass recomputes the scores.
///
/// Query i belongs to token reads.token(i): q, out and their gradients have reads.count(time) rows for a sequence, one
/// after the other at their strides, and begin with that of token reads.first. When causal, the query of token t sees
/// keys j <= t; with a window, which causal attention alone has, keys t - window < j <= t.
struct AttentionShape {
  int64_t batch = 0, time = 0, heads = 0, kv_heads = 0, head_dim = 0;
  bool causal = true;
  float scale = 1;
  Reads reads = {};
  int64_t window = 0;  // 0: all keys up to the token

  /// Queries of a sequence.
  int64_t queries() const { return reads.count(time); }
  /// A query sees keys first_seen_by(query) to seen_by(query) - 1.
  int64_t seen_by(int64_t query) const { return causal ? reads.token(query) + 1 : time; }
  int64_t first_seen_by(int64_t query) const {
    return window == 0 || reads.token(query) < window ? 0 : reads.token(query) - window + 1;
  }
  /// Keys that the queries before `query` may see, of which the last may be seen by none; all for query = queries().
  int64_t keys_before(int64_t query) const { return causal && query < queries() ? reads.token(query) : time; }
  /// The queries that see any of keys first to last - 1: from first_seer(first) up to, and without, end_of_seers(last).
  int64_t first_seer(int64_t first) const { return causal ? reads.count(first) : 0; }
  int64_t end_of_seers(int64_t last) const {
    return window == 0 ? queries() : reads.count(last - 1 + window < time ? last - 1 + window : time);
  }
};

struct AttentionForward {
  AttentionShape shape;
  ConstArray q = nullptr;
  ConstArray k = nullptr;
  ConstArray v = nullptr;
  int64_t q_stride = 0, k_stride = 0, v_stride = 0;  // between rows
  Array out = nullptr;
  int64_t out_stride = 0;
  float* log_sum_exp = nullptr;  // [batch, heads, queries], or null when no backward pass follows
};

struct AttentionBackward {
  AttentionShape shape;
  ConstArray q = nullptr;
  ConstArray k = nullptr;
  ConstArray v = nullptr;
  int64_t q_stride = 0, k_stride = 0, v_stride = 0;
  ConstArray out = nullptr;
  ConstArray dout = nullptr;
  int64_t out_stride = 0, dout_stride = 0;
  const float* log_sum_exp = nullptr;  // [batch, heads, queries]
  Array dq = nullptr;                  // overwritten, as dk and dv
  Array dk = nullptr;
  Array dv = nullptr;
  int64_t dq_stride = 0, dk_stride = 0, dv_stride = 0;
};

/// Results do not depend on the number of threads.
void attention_forward(const AttentionForward& args, base::ThreadPool& pool);
void attention_backward(const AttentionBackward& args, base::ThreadPool& pool);

namespace ref {
void attention_forward(const AttentionForward& args);
void attention_backward(const AttentionBackward& args);
}  // namespace ref

}  // namespace incontext::kernels

#pragma once

#include <cstdint>

#include "base/threads.h"
#include "kernels/array.h"

namespace incontext::kernels {

/// Scaled dot-product attention over whole sequences, for training and prefill:
///   out[b, i, h] = sum_j softmax_j(scale * q[b, i, h]·k[b, j, g]) v[b, j, g],   g = h / (heads / kv_heads),
/// with j <= i when causal. Token t of sequence b starts at row b * time + t; head h of it at h * head_dim, so that
/// q, k and v may be views into one packed [batch, time, (heads + 2 kv_heads) * head_dim] projection.
/// Each tensor may lie in fp32 or bf16; arithmetic is in fp32, but that the factors of products of bf16 queries, keys,
/// values and dout are in bf16 where the processor has a unit for it (cpu/attention_tiles.h).
/// No [time, time] matrix is kept: a block of queries at a time, and the backward pass recomputes the scores.
///
/// With query_every = n only tokens 0, n, 2n, … ask: q, out and their gradients then have ceil(time / n) rows for a
/// sequence, one after the other at their strides, and query i sees keys j <= n i when causal.
struct AttentionShape {
  int64_t batch = 0, time = 0, heads = 0, kv_heads = 0, head_dim = 0;
  bool causal = true;
  float scale = 1;
  int64_t query_every = 1;

  /// Queries of a sequence.
  int64_t queries() const { return (time + query_every - 1) / query_every; }
  /// Keys that a query sees.
  int64_t seen_by(int64_t query) const { return causal ? query * query_every + 1 : time; }
  /// Keys that belong to the queries before `query`, of which the last may be seen by none.
  int64_t keys_before(int64_t query) const { return causal && query < queries() ? query * query_every : time; }
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

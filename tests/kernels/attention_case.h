#pragma once

#include <fmt/format.h>

#include <cmath>
#include <cstddef>
#include <random>
#include <string>
#include <vector>

#include "kernels/attention.h"
#include "kernels/stored.h"

namespace incontext::kernels {

inline AttentionShape make_shape(int64_t batch, int64_t time, int64_t heads, int64_t kv_heads, int64_t head_dim,
                                 bool causal, const Reads& reads = {}, int64_t window = 0) {
  return {batch, time, heads, kv_heads, head_dim, causal, 1 / std::sqrt(static_cast<float>(head_dim)), reads, window};
}

inline std::string name_of(const AttentionShape& s) {
  return fmt::format("batch {} time {} heads {} / {} head_dim {} causal {} reads {} + n {} window {}", s.batch, s.time,
                     s.heads, s.kv_heads, s.head_dim, s.causal, s.reads.first, s.reads.every, s.window);
}

/// One packed [batch * time, (heads + 2 kv_heads) * head_dim] projection, its gradient, and what attention makes.
/// Copies start from the same values. Reads are regular, or batch is 1.
struct AttentionProblem {
  AttentionShape shape;
  StoredMatrix qkv, out, dout, dqkv;
  std::vector<float> lse;

  /// `factors` is how queries, keys, values and dout lie, `results` how the rest does.
  AttentionProblem(const AttentionShape& s, std::mt19937& random, Storage factors = Storage::f32,
                   Storage results = Storage::f32, int64_t padding = 3, int64_t offset = 1)
      : shape(s),
        qkv(factors, s.batch * s.time, (s.heads + 2 * s.kv_heads) * s.head_dim, padding, offset),
        out(results, s.batch * s.queries(), s.heads * s.head_dim, padding, offset),
        dout(factors, s.batch * s.queries(), s.heads * s.head_dim, padding, offset),
        dqkv(results, s.batch * s.time, (s.heads + 2 * s.kv_heads) * s.head_dim, padding, offset),
        lse(static_cast<std::size_t>(s.batch * s.heads * s.queries())) {
    qkv.fill(random);
    dout.fill(random);
    for (int64_t i = 0; i < qkv.rows(); ++i) {  // keys three times as long: softmax far from uniform
      for (int64_t j = k_column(); j < v_column(); ++j) qkv.set(i, j, 3 * qkv.at(i, j));
      if (s.reads.token(s.reads.count(i % s.time)) == i % s.time) continue;
      for (int64_t j = 0; j < k_column(); ++j) {  // neither read nor written
        qkv.set(i, j, std::nanf(""));
        dqkv.set(i, j, 0);
      }
    }
  }

  int64_t k_column() const { return shape.heads * shape.head_dim; }
  int64_t v_column() const { return (shape.heads + shape.kv_heads) * shape.head_dim; }

  AttentionForward forward(bool keep = true) {
    return {.shape = shape,
            .q = qkv.array() + shape.reads.first * qkv.stride(),
            .k = qkv.array() + k_column(),
            .v = qkv.array() + v_column(),
            .q_stride = shape.reads.every * qkv.stride(),
            .k_stride = qkv.stride(),
            .v_stride = qkv.stride(),
            .out = out.array(),
            .out_stride = out.stride(),
            .log_sum_exp = keep ? lse.data() : nullptr};
  }

  AttentionBackward backward() {
    const AttentionForward of = forward();
    return {.shape = shape,
            .q = of.q,
            .k = of.k,
            .v = of.v,
            .q_stride = shape.reads.every * qkv.stride(),
            .k_stride = qkv.stride(),
            .v_stride = qkv.stride(),
            .out = out.array(),
            .dout = dout.array(),
            .out_stride = out.stride(),
            .dout_stride = dout.stride(),
            .log_sum_exp = lse.data(),
            .dq = dqkv.array() + shape.reads.first * dqkv.stride(),
            .dk = dqkv.array() + k_column(),
            .dv = dqkv.array() + v_column(),
            .dq_stride = shape.reads.every * dqkv.stride(),
            .dk_stride = dqkv.stride(),
            .dv_stride = dqkv.stride()};
  }
};

}  // namespace incontext::kernels

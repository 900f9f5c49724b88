#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/threads.h"
#include "kernels/integer_codes.h"

namespace incontext::kernels {

/// Queries of one sequence that all attend to the positions [first, last) of its codes, at least one. Of the block of
/// positions [32b, 32b + 32) the codes of KV head g begin at codes + b * block_bytes + g * (bytes of keys + bytes of
/// values), keys first.
struct CodeAttentionSequence {
  const float* q = nullptr;  // [count, heads * head_dim]
  float* out = nullptr;      // [count, heads * head_dim]
  int64_t count = 0;
  int64_t first = 0, last = 0;
  const std::byte* codes = nullptr;
  float* log_sums = nullptr;  // [count, heads], as CacheAttentionSequence::log_sums
};

/// Attention over keys and values that are kept as integers:
///   out[i, h] = sum_j softmax_j(scale * q[i, h]·keys[g][j]) values[g][j],   g = h / (heads / kv_heads).
struct CodeAttention {
  IntegerCodes keys = {}, values = {.values = true};
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  int64_t q_stride = 0, out_stride = 0;  // between tokens
  int64_t block_bytes = 0;
  float scale = 1;  // at least 0
  std::span<const CodeAttentionSequence> sequences = {};
};

/// Codes are decoded in registers, once for up to four query heads that share them. The bits of a row depend on its
/// query, the codes that it sees, their positions and the instruction set only: positions are cut at multiples of 256,
/// within which softmax is taken whole, and of 1,024, and what comes of them is combined in order.
void code_attention(const CodeAttention& args, base::ThreadPool& pool);

namespace ref {
void code_attention(const CodeAttention& args);
}  // namespace ref

}  // namespace incontext::kernels

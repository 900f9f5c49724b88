#pragma once

#include <cstdint>
#include <span>

#include "base/threads.h"
#include "kernels/storage.h"

namespace incontext::kernels {

/// New tokens of one sequence, whose keys and values are in the cache already. The keys of KV head g begin at keys[g],
/// in blocks (key_blocks.h), of which the last is there whole; its values begin at values[g], a row for each position.
struct CacheAttentionSequence {
  const float* q = nullptr;  // [count, heads * head_dim]
  float* out = nullptr;      // [count, heads * head_dim]
  int64_t count = 0;
  int64_t first_position = 0;           // of the first query
  const void* const* keys = nullptr;    // [kv_heads]
  const void* const* values = nullptr;  // [kv_heads]
  /// [count, heads], or null: the logarithm to base 2 of the softmax's denominator, sum_j exp(scale * q[i, h]·k_j), by
  /// which attention over parts of a past is put together (combine_attention).
  float* log_sums = nullptr;
};

/// Causal attention of new tokens over a cache:
///   out[i, h] = sum_j softmax_j(scale * q[i, h]·keys[g][j]) values[g][j],   g = h / (heads / kv_heads),
/// over the positions j with first <= j <= p and p = first_position + i: first is 0, or p - window + 1 with a window.
/// Values that no query sees are not read, and keys that none sees count for nothing.
struct CacheAttention {
  Storage storage = Storage::bf16;
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  int64_t value_stride = 0;              // elements between positions
  int64_t q_stride = 0, out_stride = 0;  // between tokens
  int64_t window = 0;                    // positions a query sees, itself included; 0 for all
  float scale = 1;                       // at least 0
  std::span<const CacheAttentionSequence> sequences = {};
};

/// Keys and values are read once for all query heads that share them. The bits of out[i, h] depend on its query, its
/// position, what it sees and the instruction set only: neither on how a prompt is cut into calls, nor on the other
/// sequences, nor on the number of threads. (As long as keys and values are finite.) For this positions are cut at
/// multiples of 256: within such a split softmax is taken whole, and splits are combined in order.
void cache_attention(const CacheAttention& args, base::ThreadPool& pool);

/// Attention over two parts of a past from that over each: for every row r < rows, both attend to something,
///   out[r] = (2^a[r] out[r] + 2^b[r] other[r]) / (2^a[r] + 2^b[r]),   a[r] = log2(2^a[r] + 2^b[r]),
/// with out rows of `width`, head_rows of them to a token, tokens out_stride apart; `other` [rows, width].
struct CombineAttention {
  float* out = nullptr;
  int64_t out_stride = 0;
  const float* other = nullptr;
  float* log_sums = nullptr;              // a, [rows]
  const float* other_log_sums = nullptr;  // b, [rows]
  int64_t rows = 0, head_rows = 1, width = 0;
};
void combine_attention(const CombineAttention& args);

namespace ref {
void cache_attention(const CacheAttention& args);
}  // namespace ref

}  // namespace incontext::kernels

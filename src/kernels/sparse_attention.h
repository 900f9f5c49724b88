#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/threads.h"
#include "kernels/sparse_block.h"

namespace incontext::kernels {

/// Queries of one sequence that all attend to its positions [first, last).
struct SparseAttentionSequence {
  const float* q = nullptr;  // [count, heads * head_dim], rows q_stride apart
  int64_t q_stride = 0;
  int64_t count = 0;
  const std::byte* const* blocks = nullptr;  // of 32 positions each, up to the one that holds last - 1
  int64_t first = 0, last = 0;               // first < last
  float* out = nullptr;                      // [count, heads, head_dim]
  float* log_sums = nullptr;                 // [count, heads], as in cache_attention.h
};

/// Attention over sparse codes that are never decompressed: keys k_j = key_mean + sum_i c_ji key_atoms[n_ji], values
/// alike. A query's products with all atoms are taken once; a score is then a few look-ups, and values are summed as
/// coefficients of atoms, which one product with the dictionary turns into the output.
struct SparseAttention {
  SparseLayout layout = {};
  int64_t heads = 0, head_dim = 0;
  float scale = 1;
  int64_t key_atoms = 0, value_atoms = 0;
  const uint16_t* key_panels = nullptr;  // halves [key_atoms / 16 rounded up, head_dim, 16]
  const uint16_t* value_rows = nullptr;  // halves [value_atoms, head_dim]
  const float* key_mean = nullptr;       // [kv_heads, head_dim], or null
  const float* value_mean = nullptr;
  std::span<const SparseAttentionSequence> sequences = {};

  int64_t padded_key_atoms() const { return (key_atoms + 15) / 16 * 16; }
};

/// Positions whose weight is below 2^-24 of the largest in a range of 4,096 add nothing to the output. The bits of a
/// row depend on its query, the codes that it sees and the instruction set only.
void sparse_attention(const SparseAttention& args, base::ThreadPool& pool);

namespace ref {
/// With every weight.
void sparse_attention(const SparseAttention& args);
}  // namespace ref

}  // namespace incontext::kernels

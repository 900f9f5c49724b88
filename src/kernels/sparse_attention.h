#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/threads.h"
#include "kernels/omp.h"

namespace incontext::kernels {

/// How a block of 32 positions of one layer keeps sparse codes of keys and values (Lexico, Kim et al. 2024): for each
/// KV head its keys, then its values, each as a part of
///   scales, 32 halves; counts, 32 bytes, where codes differ in length; then for every non-zero of every position, in
///   order, 16 bits: the atom in the lower 12 and in the upper 4 the coefficient (ladder) or its lowest 4 bits
///   (integer), whose upper 8 bits follow for all of them.
/// Parts have even sizes. Where codes differ in length the block begins with where each part begins, uint32 [kv_heads,
/// 2].
struct SparseLayout {
  int64_t kv_heads = 0;
  int64_t key_sparsity = 0, value_sparsity = 0;      // non-zeros of a position, at most where they are counted
  Coefficients coefficients = Coefficients::ladder;  // ladders: 2 bytes for a non-zero; integer: 3
  bool counted = false;

  static constexpr int64_t kBlock = 32, kMostAtoms = 4096, kMostNonZeros = 128;
  /// The largest size of a part and of a block, in bytes.
  int64_t part_bytes(int64_t sparsity) const;
  int64_t block_bytes() const;
  /// What the codes can name.
  int64_t most_atoms() const { return int64_t{1} << atom_bits(coefficients); }
};

/// Writes block `out` from codes of its 32 * kv_heads keys and values, position by position: what omp() gives. Returns
/// its size.
struct SparseCodes {
  const uint16_t* chosen = nullptr;  // [32, kv_heads, sparsity]
  const int16_t* codes = nullptr;    // the same
  const int32_t* used = nullptr;     // [32, kv_heads]
  const uint16_t* scales = nullptr;  // [32, kv_heads]
};
int64_t write_sparse_block(const SparseLayout& layout, const SparseCodes& keys, const SparseCodes& values,
                           std::byte* out);
/// Whether a block of so many bytes is one that attention can read, with atoms below `atoms`.
bool is_sparse_block(const SparseLayout& layout, std::span<const std::byte> block, int64_t key_atoms,
                     int64_t value_atoms);

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
};

/// Positions whose weight is below 2^-24 of the largest in a range of 4,096 add nothing to the output. The bits of a
/// row depend on its query, the codes that it sees and the instruction set only.
void sparse_attention(const SparseAttention& args, base::ThreadPool& pool);

namespace ref {
/// With every weight.
void sparse_attention(const SparseAttention& args);
}  // namespace ref

}  // namespace incontext::kernels

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/coefficients.h"

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

/// The codes of the keys, or values, of one KV head in a block.
struct SparsePart {
  const uint16_t* scales = nullptr;  // halves, one for each position
  const uint8_t* counts = nullptr;   // non-zeros of each position, or null: all have as many
  const uint16_t* low = nullptr;     // of every non-zero of every position, in order
  const uint8_t* high = nullptr;     // of integers
};
SparsePart sparse_part(const SparseLayout& layout, const std::byte* block, int64_t head, bool values);

}  // namespace incontext::kernels

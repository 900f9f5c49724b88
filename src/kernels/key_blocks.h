#pragma once

#include <cstdint>

#include "kernels/storage.h"

namespace incontext::kernels {

/// How a cache keeps the keys of one KV head: blocks of 32 positions, each [head_dim, 32]. A vector of scores is then a
/// sum of vectors over the head, one multiply-add for each, where rows would leave the lanes of every score to be added
/// up: that took a third of the time of scores with four query heads to a key.
constexpr int64_t kKeyBlock = 32;

/// Blocks that hold so many positions.
constexpr int64_t key_blocks(int64_t positions) { return (positions + kKeyBlock - 1) / kKeyBlock; }

/// Where a position lies within a row of 32. Two bf16 share a lane of 32 bits, and a shift and a mask make a vector of
/// the lower and one of the upper ones: here both are neighbouring positions, however long a vector is.
constexpr int64_t key_place(Storage storage, int64_t position) {
  const int64_t within = position % kKeyBlock;
  constexpr int64_t kHalf = kKeyBlock / 2;
  return storage == Storage::bf16 ? within % kHalf * 2 + within / kHalf : within;
}

/// The element of the keys of a head that holds element `d` of the key at `position`.
constexpr int64_t key_element(Storage storage, int64_t head_dim, int64_t position, int64_t d) {
  return (position / kKeyBlock * head_dim + d) * kKeyBlock + key_place(storage, position);
}

}  // namespace incontext::kernels

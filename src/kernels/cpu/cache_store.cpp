#include "kernels/cache_store.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "kernels/cpu/scratch.h"
#include "kernels/key_blocks.h"

namespace incontext::kernels {
namespace {

constexpr int64_t kRows = 32;  // of a piece of work

void check_cache_store(const CacheStore& args) {
  base::check(args.kv_heads >= 0 && args.head_dim >= 0,
              "[cache_store] expected kv_heads and head_dim of at least 0, got {} and {}", args.kv_heads,
              args.head_dim);
  base::check(args.values.empty() || args.value_stride >= args.head_dim,
              "[cache_store] expected positions at least {} elements apart, got {}", args.head_dim, args.value_stride);
  for (const auto sequences : {args.keys, args.values}) {
    for (const CacheStoreSequence& s : sequences) {
      base::check(s.count >= 0 && s.first_position >= 0,
                  "[cache_store] expected a count and a first position of at least 0, got {} and {}", s.count,
                  s.first_position);
    }
  }
}

/// A key to its places, which are a row of the block apart.
template <class Element>
void scatter(const Element* key, int64_t head_dim, Element* to) {
  for (int64_t d = 0; d < head_dim; ++d) to[d * kKeyBlock] = key[d];
}

/// The row as the storage can hold it: `row` itself, or a saturated copy.
const float* saturated(const CacheStore& args, const float* row) {
  if (args.storage != Storage::f16) return row;
  float* copy = scratch(Scratch::left, args.head_dim);
  for (int64_t d = 0; d < args.head_dim; ++d) copy[d] = saturate(Storage::f16, row[d]);
  return copy;
}

void store_key(const CacheStore& args, const float* row, int64_t position, void* keys) {
  const int64_t first = key_element(args.storage, args.head_dim, position, 0);
  if (args.storage == Storage::f32) return scatter(row, args.head_dim, static_cast<float*>(keys) + first);
  auto* rounded = reinterpret_cast<uint16_t*>(scratch(Scratch::extra, (args.head_dim + 1) / 2));
  write_row(args.storage, saturated(args, row), args.head_dim, rounded);
  scatter(rounded, args.head_dim, static_cast<uint16_t*>(keys) + first);
}

void store_value(const CacheStore& args, const float* row, int64_t position, void* values) {
  const int64_t first = position * args.value_stride * bytes_per_element(args.storage);
  write_row(args.storage, saturated(args, row), args.head_dim, static_cast<char*>(values) + first);
}

}  // namespace

void cache_store(const CacheStore& args, base::ThreadPool& pool) {
  check_cache_store(args);
  struct Piece {
    const CacheStoreSequence* sequence;
    int64_t first;
    bool key;
  };
  std::vector<Piece> pieces;
  for (const bool key : {true, false}) {
    for (const CacheStoreSequence& s : key ? args.keys : args.values) {
      for (int64_t first = 0; first < s.count; first += kRows) pieces.push_back({&s, first, key});
    }
  }
  pool.run(static_cast<int64_t>(pieces.size()), [&](int64_t index, int) {
    const auto& [sequence, first, key] = pieces[static_cast<std::size_t>(index)];
    const CacheStoreSequence& s = *sequence;
    const int64_t last = std::min(s.count, first + kRows);
    for (int64_t g = 0; g < args.kv_heads; ++g) {
      for (int64_t i = first; i < last; ++i) {
        const float* row = s.rows + i * s.row_stride + g * args.head_dim;
        (key ? store_key : store_value)(args, row, s.first_position + i, s.heads[g]);
      }
    }
  });
}

}  // namespace incontext::kernels

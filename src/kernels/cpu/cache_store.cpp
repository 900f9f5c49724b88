#include "kernels/cache_store.h"

#include <algorithm>
#include <vector>

#include "base/error.h"

namespace incontext::kernels {
namespace {

constexpr int64_t kRows = 32;  // of a piece of work

template <class Args>
void check_cache(const char* where, const Args& args) {
  base::check(args.kv_heads >= 0 && args.head_dim >= 0,
              "[{}] expected kv_heads and head_dim of at least 0, got {} and {}", where, args.kv_heads, args.head_dim);
  base::check(args.cache_stride >= args.head_dim, "[{}] expected positions at least {} elements apart, got {}", where,
              args.head_dim, args.cache_stride);
  for (const auto& s : args.sequences) {
    base::check(s.count >= 0 && s.first_position >= 0,
                "[{}] expected a count and a first position of at least 0, got {} and {}", where, s.count,
                s.first_position);
  }
}

/// Calls work(sequence, first row, last row) for blocks of rows of all sequences.
template <class Args, class Work>
void for_each_block(const Args& args, base::ThreadPool& pool, const Work& work) {
  std::vector<int64_t> ends;  // blocks up to and with a sequence
  for (const auto& s : args.sequences) ends.push_back((ends.empty() ? 0 : ends.back()) + (s.count + kRows - 1) / kRows);
  pool.run(ends.empty() ? 0 : ends.back(), [&](int64_t piece, int) {
    const auto at = static_cast<std::size_t>(std::upper_bound(ends.begin(), ends.end(), piece) - ends.begin());
    const int64_t first = (piece - (at == 0 ? 0 : ends[at - 1])) * kRows;
    work(args.sequences[at], first, std::min(args.sequences[at].count, first + kRows));
  });
}

}  // namespace

void cache_store(const CacheStore& args, base::ThreadPool& pool) {
  check_cache("cache_store", args);
  const int64_t bytes = bytes_per_element(args.storage);
  for_each_block(args, pool, [&](const CacheStoreSequence& s, int64_t first, int64_t last) {
    for (int64_t g = 0; g < args.kv_heads; ++g) {
      char* cache = static_cast<char*>(s.heads[g]);
      for (int64_t i = first; i < last; ++i) {
        write_row(args.storage, s.rows + i * s.row_stride + g * args.head_dim, args.head_dim,
                  cache + (s.first_position + i) * args.cache_stride * bytes);
      }
    }
  });
}

void cache_load(const CacheLoad& args, base::ThreadPool& pool) {
  check_cache("cache_load", args);
  const int64_t bytes = bytes_per_element(args.storage);
  for_each_block(args, pool, [&](const CacheLoadSequence& s, int64_t first, int64_t last) {
    for (int64_t g = 0; g < args.kv_heads; ++g) {
      const char* cache = static_cast<const char*>(s.heads[g]);
      for (int64_t i = first; i < last; ++i) {
        read_row(args.storage, cache + (s.first_position + i) * args.cache_stride * bytes, args.head_dim,
                 s.rows + i * s.row_stride + g * args.head_dim);
      }
    }
  });
}

}  // namespace incontext::kernels

#pragma once

#include <cstdint>
#include <span>

#include "base/threads.h"
#include "kernels/storage.h"

namespace incontext::kernels {

/// Rows of one sequence that go into, or come from, its cache of keys or of values. The cache of KV head g is an array
/// of rows, one per position, that starts at heads[g].
struct CacheStoreSequence {
  const float* rows = nullptr;  // [count, kv_heads * head_dim]
  int64_t row_stride = 0;
  int64_t count = 0;
  int64_t first_position = 0;    // row i goes to position first_position + i
  void* const* heads = nullptr;  // [kv_heads]
};

/// Stores fp32 rows, rounded to nearest even. Keys and values are two entries of `sequences`.
struct CacheStore {
  Storage storage = Storage::bf16;
  int64_t kv_heads = 0, head_dim = 0;
  int64_t cache_stride = 0;  // elements between positions
  std::span<const CacheStoreSequence> sequences = {};
};

struct CacheLoadSequence {
  float* rows = nullptr;
  int64_t row_stride = 0;
  int64_t count = 0;
  int64_t first_position = 0;
  const void* const* heads = nullptr;
};

/// The reverse: positions of caches to fp32 rows.
struct CacheLoad {
  Storage storage = Storage::bf16;
  int64_t kv_heads = 0, head_dim = 0;
  int64_t cache_stride = 0;
  std::span<const CacheLoadSequence> sequences = {};
};

void cache_store(const CacheStore& args, base::ThreadPool& pool);
void cache_load(const CacheLoad& args, base::ThreadPool& pool);

namespace ref {
void cache_store(const CacheStore& args);
void cache_load(const CacheLoad& args);
}  // namespace ref

}  // namespace incontext::kernels

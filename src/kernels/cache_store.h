#pragma once

#include <cstdint>
#include <span>

#include "base/threads.h"
#include "kernels/storage.h"

namespace incontext::kernels {

/// New tokens' keys or values of one sequence that go into its cache. What is kept of KV head g begins at heads[g].
struct CacheStoreSequence {
  const float* rows = nullptr;  // [count, kv_heads * head_dim]
  int64_t row_stride = 0;
  int64_t count = 0;
  int64_t first_position = 0;    // row i goes to position first_position + i
  void* const* heads = nullptr;  // [kv_heads]
};

/// Stores fp32 rows, rounded to nearest even: keys in blocks (key_blocks.h), values as rows. In f16, what is beyond the
/// largest half is stored as the largest half, since one infinity would make NaN of every later sum; NaN stays NaN.
struct CacheStore {
  Storage storage = Storage::f16;
  int64_t kv_heads = 0, head_dim = 0;
  int64_t value_stride = 0;  // elements between positions
  std::span<const CacheStoreSequence> keys = {};
  std::span<const CacheStoreSequence> values = {};
};

void cache_store(const CacheStore& args, base::ThreadPool& pool);

namespace ref {
void cache_store(const CacheStore& args);
}  // namespace ref

}  // namespace incontext::kernels

#include "kernels/cache_store.h"

namespace incontext::kernels::ref {

void cache_store(const CacheStore& args) {
  for (const CacheStoreSequence& s : args.sequences) {
    for (int64_t i = 0; i < s.count; ++i) {
      for (int64_t g = 0; g < args.kv_heads; ++g) {
        for (int64_t d = 0; d < args.head_dim; ++d) {
          write_element(args.storage, s.heads[g], (s.first_position + i) * args.cache_stride + d,
                        s.rows[i * s.row_stride + g * args.head_dim + d]);
        }
      }
    }
  }
}

void cache_load(const CacheLoad& args) {
  for (const CacheLoadSequence& s : args.sequences) {
    for (int64_t i = 0; i < s.count; ++i) {
      for (int64_t g = 0; g < args.kv_heads; ++g) {
        for (int64_t d = 0; d < args.head_dim; ++d) {
          s.rows[i * s.row_stride + g * args.head_dim + d] =
              read_element(args.storage, s.heads[g], (s.first_position + i) * args.cache_stride + d);
        }
      }
    }
  }
}

}  // namespace incontext::kernels::ref

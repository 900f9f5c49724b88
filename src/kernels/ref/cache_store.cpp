#include "kernels/cache_store.h"
#include "kernels/key_blocks.h"

namespace incontext::kernels::ref {
namespace {

template <class Place>
void store(const CacheStore& args, std::span<const CacheStoreSequence> sequences, const Place& place) {
  for (const CacheStoreSequence& s : sequences) {
    for (int64_t i = 0; i < s.count; ++i) {
      for (int64_t g = 0; g < args.kv_heads; ++g) {
        for (int64_t d = 0; d < args.head_dim; ++d) {
          write_element(args.storage, s.heads[g], place(s.first_position + i, d),
                        saturate(args.storage, s.rows[i * s.row_stride + g * args.head_dim + d]));
        }
      }
    }
  }
}

}  // namespace

void cache_store(const CacheStore& args) {
  store(args, args.keys,
        [&](int64_t position, int64_t d) { return key_element(args.storage, args.head_dim, position, d); });
  store(args, args.values, [&](int64_t position, int64_t d) { return position * args.value_stride + d; });
}

}  // namespace incontext::kernels::ref

#include "cache/kv_cache.h"
#include "kernels/cache_attention.h"
#include "tensor/device.h"

namespace incontext::cache {
namespace {

// One kernel call for sequences whose caches lie alike.
struct Group {
  PlainLayer layer;
  int64_t q_stride = 0, out_stride = 0;
  std::vector<kernels::CacheAttentionSequence> sequences;

  bool takes(const PlainLayer& other, const Attending& attending) const {
    return layer.storage == other.storage && layer.value_stride == other.value_stride &&
           q_stride == attending.queries.stride && out_stride == attending.out_stride;
  }
};

}  // namespace

void attend(int64_t layer, std::span<const Attending> sequences, const Scores& scores) {
  std::vector<Group> groups;
  for (const Attending& each : sequences) {
    const std::optional<PlainLayer> plain = each.cache->plain_layer(layer);
    if (!plain) {
      each.cache->attend(layer, each.queries, each.count, scores, each.out, each.out_stride);
      continue;
    }
    Group* group = nullptr;
    for (Group& known : groups) {
      if (known.takes(*plain, each)) group = &known;
    }
    if (group == nullptr) {
      groups.push_back(
          {.layer = *plain, .q_stride = each.queries.stride, .out_stride = each.out_stride, .sequences = {}});
      group = &groups.back();
    }
    group->sequences.push_back({.q = each.queries.data,
                                .out = each.out,
                                .count = each.count,
                                .first_position = each.cache->length(layer) - each.count,
                                .keys = plain->keys,
                                .values = plain->values});
  }
  for (const Group& group : groups) {
    const CacheShape& shape = sequences.front().cache->shape();
    kernels::cache_attention({.storage = group.layer.storage,
                              .heads = shape.heads,
                              .kv_heads = shape.kv_heads,
                              .head_dim = shape.head_dim,
                              .value_stride = group.layer.value_stride,
                              .q_stride = group.q_stride,
                              .out_stride = group.out_stride,
                              .window = scores.window,
                              .scale = scores.scale,
                              .sequences = group.sequences},
                             tensor::kernel_pool());
  }
}

}  // namespace incontext::cache

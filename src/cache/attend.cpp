#include "cache/kv_cache.h"
#include "kernels/cache_attention.h"
#include "tensor/device.h"

namespace incontext::cache {
namespace {

// One kernel call for sequences whose caches keep rows alike.
struct Group {
  PlainRows rows;
  int64_t q_stride = 0, out_stride = 0;
  std::vector<kernels::CacheAttentionSequence> sequences;

  bool takes(const PlainRows& other, const Attending& attending) const {
    return rows.storage == other.storage && rows.stride == other.stride && q_stride == attending.queries.stride &&
           out_stride == attending.out_stride;
  }
};

}  // namespace

void attend(int64_t layer, std::span<const Attending> sequences, const Scores& scores) {
  std::vector<Group> groups;
  for (const Attending& each : sequences) {
    const std::optional<PlainRows> rows = each.cache->plain_rows(layer);
    if (!rows) {
      each.cache->attend(layer, each.queries, each.count, scores, each.out, each.out_stride);
      continue;
    }
    Group* group = nullptr;
    for (Group& known : groups) {
      if (known.takes(*rows, each)) group = &known;
    }
    if (group == nullptr) {
      groups.push_back(
          {.rows = *rows, .q_stride = each.queries.stride, .out_stride = each.out_stride, .sequences = {}});
      group = &groups.back();
    }
    group->sequences.push_back({.q = each.queries.data,
                                .out = each.out,
                                .count = each.count,
                                .first_position = each.cache->length(layer) - each.count,
                                .keys = rows->keys,
                                .values = rows->values});
  }
  for (const Group& group : groups) {
    const CacheShape& shape = sequences.front().cache->shape();
    kernels::cache_attention({.storage = group.rows.storage,
                              .heads = shape.heads,
                              .kv_heads = shape.kv_heads,
                              .head_dim = shape.head_dim,
                              .cache_stride = group.rows.stride,
                              .q_stride = group.q_stride,
                              .out_stride = group.out_stride,
                              .window = scores.window,
                              .scale = scores.scale,
                              .sequences = group.sequences},
                             tensor::kernel_pool());
  }
}

}  // namespace incontext::cache

#include "cache/kind.h"

#include "cache/kinds/full.h"
#include "cache/kinds/integer.h"
#include "cache/kinds/lexico.h"
#include "cache/kinds/snapkv.h"
#include "cache/kinds/streaming.h"

namespace incontext::cache {

void CacheKind::attend(int64_t layer, std::span<const Attending> sequences, const Scores& scores) const {
  for (const Attending& each : sequences) {
    each.cache->attend(layer, each.queries, each.count, scores, each.out, each.out_stride);
  }
}

base::Registry<CacheKindRow>& cache_kinds() {
  static base::Registry<CacheKindRow> table(
      "kind of cache",
      {{"full", "every key and value in f16 (full), full:bf16 or full:f32", make_full_kind},
       {"q8_0", "llama.cpp's 8 bits, a scale for 32 channels: rotate=on, refit=on, values=q4_0, sinks=0, tail=0",
        make_q8_0_kind},
       {"q4_0", "llama.cpp's 4 bits: the same options, values=q8_0", make_q4_0_kind},
       {"kivi", "keys by channel, values by token: bits=2, group=32, sinks=0, tail=128", make_kivi_kind},
       {"lexico",
        "sparse codes over a dictionary of calibrate lexico: dictionary=FILE, sparsity=10, value_sparsity=6, error=0, "
        "bytes=2|3; sinks=4, tail=128, exact_layers=0/-1",
        make_lexico_kind, /*opens_files=*/true},
       {"streaming", "the first (sinks=4) and the last positions (tail=1024) only", make_streaming_kind},
       {"snapkv",
        "of a prompt what its last queries attend to: keep=0.25 or budget=TOKENS, window=32, kernel=7, sinks=0",
        make_snapkv_kind},
       {"random", "of a prompt a random choice: keep=0.25 or budget=TOKENS, seed=0, sinks=4, tail=128",
        make_random_kind}});
  return table;
}

std::shared_ptr<const CacheKind> open_kind(const CachePolicy& policy, const CachedModel& model) {
  return cache_kinds().at(policy.kind, fmt::format("cache policy '{}'", policy.text())).make(policy, model);
}

std::unique_ptr<KvCache> make_cache(const CachePolicy& policy, const CacheShape& shape) {
  return open_kind(policy, {.shape = shape})->make(shape);
}

}  // namespace incontext::cache

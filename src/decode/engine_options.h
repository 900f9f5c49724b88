#pragma once

#include <cstdint>

#include "base/options.h"

namespace incontext::decode {

struct EngineOptions {
  int64_t max_batch = 64;
  int64_t prompt_part = 512;
  int64_t prompt_part_while_decoding = 128;
  int64_t cache_memory = 0;
  int64_t prefix_memory = -1;
  int64_t sampled_tokens = 0;
  /// Keep ended sequences whose prompts were compressed too, for find_prefix(): they serve no other prompts.
  bool keep_compressed = false;

  template <class Visitor>
  void visit(Visitor& v) {
    v.field("max_batch", max_batch, "sequences that run at once; more wait", base::between(1, 4096));
    v.field("prompt_part", prompt_part, "tokens of prompts in one step", base::between(1, 65536));
    v.field("prompt_part_while_decoding", prompt_part_while_decoding, "the same while other sequences wait for tokens",
            base::between(1, 65536));
    v.field("cache_memory", cache_memory, "bytes that all caches may hold; 0: half of the memory that is left at start",
            base::at_least(0));
    v.field("prefix_memory", prefix_memory, "bytes of it for caches of ended sequences; -1: a quarter",
            base::at_least(-1));
    v.field("sampled_tokens", sampled_tokens, "only ids below this are ever chosen; 0: the whole vocabulary",
            base::at_least(0));
  }
};

}  // namespace incontext::decode

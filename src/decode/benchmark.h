#pragma once

#include <cstdint>
#include <vector>

#include "models/language_model.h"

namespace incontext::decode {

struct DecodeSpeed {
  int64_t depth = 0;             // tokens in the cache before the first measured one
  double tokens_per_second = 0;  // of one sequence; median over tokens
  int64_t bytes_per_token = 0;   // weights and cache that such a token must read
  double read_bandwidth = 0;     // bytes per second that the threads read from memory between these tokens
};

/// Times `tokens` single steps of one sequence at a depth, in turn with readings of memory. The cache below is filled
/// with random rows: their values do not change the time.
DecodeSpeed measure_decode(const models::LanguageModel& model, const cache::CachePolicy& policy, int64_t depth,
                           int64_t tokens);

struct PrefillSpeed {
  int64_t tokens = 0;
  double seconds = 0;  // median of the repeats
  double flops = 0;    // of the products with weights, and of attention
};

/// Times a prompt of `tokens` tokens, taken in parts of 512, without logits but the last.
PrefillSpeed measure_prefill(const models::LanguageModel& model, const cache::CachePolicy& policy, int64_t tokens,
                             int64_t repeats);

/// Multiply-adds per second (times two) of libtorch's own product of square matrices with so many threads: what
/// OpenBLAS (fp32) or oneDNN (bf16, where the machine has instructions for it) make of this machine. Median of repeats.
struct LibraryProduct {
  double flops_per_second = 0;
  bool bf16 = false;
};

/// The product in fp32 or, where both factors are in bf16, the one in bf16 where that is faster.
LibraryProduct measure_library_product(bool bf16_factors, int threads);

}  // namespace incontext::decode

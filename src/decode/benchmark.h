#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "models/language_model.h"

namespace incontext::decode {

/// Of one cache policy at one depth.
struct DecodeSpeed {
  int64_t depth = 0;             // tokens in the cache before the first measured one
  double tokens_per_second = 0;  // of one sequence; median over tokens
  int64_t cache_bytes = 0;       // that the whole cache holds there
  int64_t fixed_bytes = 0;       // that its kind holds once for all caches
  int64_t bytes_per_token = 0;   // weights, cache and fixed bytes that such a token must read
  double read_bandwidth = 0;     // bytes per second that the threads read from memory between these tokens
  /// Speed by the full cache's: the median over tokens of the ratio of two that followed each other. Where the full
  /// cache was measured beside it.
  std::optional<double> ratio_to_full = {};
};

/// Times `tokens` single steps of one sequence of each policy at a depth, policies in turn, and between them readings
/// of memory. The caches are filled with random rows, whose values do not change the time of most kinds, and then
/// compressed.
std::vector<DecodeSpeed> measure_decode(const models::LanguageModel& model,
                                        std::span<const cache::CachePolicy> policies, int64_t depth, int64_t tokens);

/// Of one cache policy.
struct PrefillSpeed {
  int64_t tokens = 0;
  double seconds = 0;                        // median of the repeats
  double compress_seconds = 0;               // that compression at the end of the prompt has of them
  double flops = 0;                          // of the products with weights, and of attention
  std::optional<double> ratio_to_full = {};  // of speeds, as above
};

/// Times a prompt of `tokens` tokens under each policy in turn, taken in parts of 512, without logits but the last.
std::vector<PrefillSpeed> measure_prefill(const models::LanguageModel& model,
                                          std::span<const cache::CachePolicy> policies, int64_t tokens,
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

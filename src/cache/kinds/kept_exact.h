#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cache/kind.h"
#include "cache/policy_options.h"

namespace incontext::cache {

/// What stays exact (f16) in every kind that compresses: the first tokens, the last ones, and whole layers.
struct KeptExact {
  static constexpr int64_t kSinks = 4, kTail = 128;

  int64_t sinks = kSinks;                  // first positions; Xiao et al. 2024 call them attention sinks
  int64_t tail = kTail;                    // last positions, at least; up to 31 more, since blocks of 32 are compressed
  std::vector<int64_t> exact_layers = {};  // by their number among those that have a cache, ascending

  bool layer(int64_t index) const;
  /// Options for the policy's text, those that are not the defaults of the kind.
  std::vector<std::string> options(const KeptExact& defaults) const;
  std::vector<std::string> options() const;
};

/// Reads `sinks`, `tail` and `exact_layers` ("0/1/-1": numbers apart from each other by slashes, negative ones from the
/// end). A layer that the model does not have is an Error, and a tail below `least_tail`.
KeptExact read_kept_exact(PolicyOptions& options, const CachedModel& model, const KeptExact& defaults = {},
                          int64_t least_tail = 0);

}  // namespace incontext::cache

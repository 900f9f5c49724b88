#pragma once

#include "cache/kinds/coded.h"

namespace incontext::cache {

/// "streaming": keeps the first `sinks` and the last `tail` positions and forgets what lies between (StreamingLLM, Xiao
/// et al. 2024). Positions are not renumbered: keys keep the rotation of the place at which they were read.
class StreamingKind : public CodedKind {
 public:
  using CodedKind::CodedKind;

  std::string policy() const override;
  int64_t block_bytes(int64_t, const CacheShape&) const override { return 0; }
  std::vector<int64_t> encode(int64_t, const CacheShape&, const float*, const float*, int64_t,
                              std::byte*) const override;
  void attend_codes(int64_t, const CacheShape&, std::span<const CodesAttending>, float) const override;
  void check_block(int64_t, const CacheShape&, std::span<const std::byte>, const std::string&) const override;
};

std::shared_ptr<const CacheKind> make_streaming_kind(const CachePolicy& policy, const CachedModel& model);

}  // namespace incontext::cache

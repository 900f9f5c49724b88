#include "cache/kinds/streaming.h"

#include "base/error.h"

namespace incontext::cache {
namespace {

const KeptExact kStreamingDefaults{.tail = 1024};

}  // namespace

std::string StreamingKind::policy() const { return policy_text("streaming", kept().options(kStreamingDefaults)); }

// There are no codes: nobody asks for them.
std::vector<int64_t> StreamingKind::encode(int64_t, const CacheShape&, const float*, const float*, int64_t,
                                           std::byte*) const {
  base::fail("[streaming] nothing is encoded");
}

void StreamingKind::attend_codes(int64_t, const CacheShape&, std::span<const CodesAttending>, float) const {
  base::fail("[streaming] nothing is encoded");
}

void StreamingKind::check_block(int64_t, const CacheShape&, std::span<const std::byte>, const std::string&) const {
  base::fail("[streaming] nothing is encoded");
}

std::shared_ptr<const CacheKind> make_streaming_kind(const CachePolicy& policy, const CachedModel& model) {
  PolicyOptions options(policy);
  const KeptExact kept = read_kept_exact(options, model, kStreamingDefaults, /*least_tail=*/1);
  options.finish();
  return std::make_shared<StreamingKind>(kept);
}

}  // namespace incontext::cache

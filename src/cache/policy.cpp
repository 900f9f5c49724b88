#include "cache/policy.h"

namespace incontext::cache {

CachePolicy parse_policy(const std::string& text) { return base::parse_spec(text, "cache policy", "full:bf16"); }

}  // namespace incontext::cache

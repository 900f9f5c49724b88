#pragma once

#include "base/spec.h"

namespace incontext::cache {

/// One kind of cache with its options: "full", "full:bf16", "quantized:bits=4,group=32".
using CachePolicy = base::Spec;

/// Reads a policy from the one form it has everywhere (flag, configuration, HTTP field). "k=q8_0,v=q4_0" is another
/// spelling of "q8_0:values=q4_0".
CachePolicy parse_policy(const std::string& text);

}  // namespace incontext::cache

#pragma once

#include "base/spec.h"

namespace incontext::cache {

/// One kind of cache with its options: "full", "full:bf16", "quantized:bits=4,group=32".
using CachePolicy = base::Spec;

/// Reads a policy from the one form it has everywhere (flag, configuration, HTTP field).
CachePolicy parse_policy(const std::string& text);

}  // namespace incontext::cache

#pragma once

#include "base/error.h"
#include "kernels/attention.h"

namespace incontext::kernels {

inline void check_attention(const char* where, const AttentionShape& s) {
  base::check(s.batch >= 0 && s.time >= 0 && s.head_dim >= 1,
              "[{}] expected extents of at least 0 and head_dim of at "
              "least 1, got batch {}, time {}, head_dim {}",
              where, s.batch, s.time, s.head_dim);
  base::check(s.kv_heads >= 1 && s.heads >= 1 && s.heads % s.kv_heads == 0,
              "[{}] expected heads to be a multiple of kv_heads, got {} and {}", where, s.heads, s.kv_heads);
  base::check(s.reads.first >= 0 && s.reads.every >= 1,
              "[{}] expected reads from token 0 or later at distances of at least 1, got {} and {}", where,
              s.reads.first, s.reads.every);
  base::check(s.time == 0 || s.queries() > 0, "[{}] expected reads to begin below token {}, got {}", where, s.time,
              s.reads.first);
  base::check(s.window == 0 || (s.window > 0 && s.causal), "[{}] expected a window of causal attention, got {}", where,
              s.window);
}

}  // namespace incontext::kernels

#pragma once

#include "base/error.h"
#include "text/json_field.h"

namespace incontext::text {

/// Sequences may hold sequences; deeper than this is no tokenizer but an attack on our stack.
inline constexpr int kMaxDepth = 16;

inline void check_depth(const JsonField& field, int depth) {
  base::check(depth < kMaxDepth, "{}: sequences are nested deeper than {}", field.where(), kMaxDepth);
}

/// The parts of a component, each made by `make(field, depth + 1)`.
template <class Make>
auto make_parts(const JsonField& field, const char* key, int depth, Make make) {
  check_depth(field, depth);
  std::vector<decltype(make(field, depth))> parts;
  for (const JsonField& part : field.at(key).items()) parts.push_back(make(part, depth + 1));
  return parts;
}

[[noreturn]] inline void fail_unknown_type(const JsonField& field, const char* what, const char* known) {
  base::fail("{}: the {} '{}' is not supported, expected one of {}", field.where(), what, field.text("type"), known);
}

}  // namespace incontext::text

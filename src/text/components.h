#pragma once

#include "base/error.h"
#include "text/json_field.h"

namespace incontext::text {

/// Sequences may hold sequences; deeper than this is no tokenizer but an attack on our stack.
inline constexpr int kMaxDepth = 16;

inline void check_depth(const JsonField& field, int depth) {
  base::check(depth < kMaxDepth, "{}: sequences are nested deeper than {}", field.where(), kMaxDepth);
}

/// Every part takes a pass over the text, and some take a while to make.
inline constexpr size_t kMaxParts = 100;

inline void check_parts(const JsonField& field, size_t count) {
  base::check(count <= kMaxParts, "{}: has more than {} parts", field.where(), kMaxParts);
}

/// Appends the parts of a component, each made by `make(field)`; those of sequences inside sequences in their place.
template <class Part, class Make>
void collect_parts(const JsonField& field, const char* key, int depth, Make make, std::vector<Part>& parts) {
  if (field.text("type") != "Sequence") {
    parts.push_back(make(field));
    return check_parts(field, parts.size());
  }
  check_depth(field, depth);
  for (const JsonField& part : field.at(key).items()) collect_parts(part, key, depth + 1, make, parts);
}

/// Parts that each make a text a little longer could together fill any memory.
inline void check_growth(size_t before, size_t after) {
  constexpr size_t kMost = 64, kAlways = size_t{64} << 10;
  base::check(after <= kAlways || after / kMost <= before, "the tokenizer makes {} bytes of a text of {}", after,
              before);
}

[[noreturn]] inline void fail_unknown_type(const JsonField& field, const char* what, const char* known) {
  base::fail("{}: the {} '{}' is not supported, expected one of {}", field.where(), what, field.text("type"), known);
}

}  // namespace incontext::text

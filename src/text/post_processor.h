#pragma once

#include <cstdint>
#include <vector>

#include "text/json_field.h"

namespace incontext::text {

/// The tokens that belong before and after a text.
struct Surrounding {
  std::vector<int64_t> before;
  std::vector<int64_t> after;
};

/// What the `post_processor` of a tokenizer.json puts around one text. Unknown types and wrong fields are Errors that
/// name the place. (ByteLevel changes offsets only, and adds nothing.)
Surrounding read_post_processor(const JsonField& field);

}  // namespace incontext::text

#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "text/json_field.h"

namespace incontext::text {

enum class UnicodeForm { nfc, nfd, nfkc, nfkd };

/// Unicode normalization of valid UTF-8 (unassigned code points stay as they are).
std::string normalize_unicode(std::string_view text, UnicodeForm form);

/// Lower case code point by code point, without regard to neighbours.
std::string to_lower(std::string_view text);

/// A text on its way to the model. `at_start` says that its first character is the first of what the user wrote; a
/// Metaspace pre-tokenizer asks for it.
struct Piece {
  std::string text;
  bool at_start = false;
};

/// What a tokenizer does to a text before it is cut. Thread-safe.
class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual void apply(Piece& piece) const = 0;
};

/// The `normalizer` of a tokenizer.json. Unknown types and wrong fields are Errors that name the place.
std::unique_ptr<const Normalizer> make_normalizer(const JsonField& field);

}  // namespace incontext::text

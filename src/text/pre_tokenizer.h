#pragma once

#include <memory>
#include <vector>

#include "text/json_field.h"
#include "text/normalizer.h"

namespace incontext::text {

/// What cuts a text into the words that the model takes one by one. Thread-safe.
class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;

  /// Appends the words of `piece`, none empty.
  virtual void cut(Piece piece, std::vector<Piece>& words) const = 0;
};

/// The `pre_tokenizer` of a tokenizer.json. Unknown types and wrong fields are Errors that name the place.
std::unique_ptr<const PreTokenizer> make_pre_tokenizer(const JsonField& field);

/// What a tokenizer without tokenizer.json has: GPT-2's regular expression, then bytes as characters.
std::unique_ptr<const PreTokenizer> make_gpt2_pre_tokenizer(bool add_prefix_space);

}  // namespace incontext::text

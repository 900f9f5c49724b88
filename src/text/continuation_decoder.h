#pragma once

#include <span>
#include <string>

#include "text/stream_decoder.h"

namespace incontext::text {

/// The text of a continuation, token by token: what the text of prompt and continuation has beyond that of the prompt.
/// Decoders trim the space that begins a text, and a continuation begins none. Holds back what StreamDecoder does.
class ContinuationDecoder {
 public:
  /// `prompt` may be empty; then the continuation is a text of its own.
  ContinuationDecoder(const std::shared_ptr<const Tokenizer>& tokenizer, std::span<const int64_t> prompt,
                      bool skip_special_tokens = false);

  std::string push(int64_t id) { return without_prompt(decoder_.push(id)); }
  std::string finish() { return without_prompt(decoder_.finish()); }

 private:
  std::string without_prompt(std::string piece);

  StreamDecoder decoder_;
  std::string held_;  // what the decoder had not yet told of the prompt
};

}  // namespace incontext::text

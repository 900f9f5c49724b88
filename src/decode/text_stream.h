#pragma once

#include <span>
#include <string>
#include <vector>

#include "decode/stop_strings.h"
#include "text/stream_decoder.h"

namespace incontext::decode {

/// The text of a continuation, token by token: whole characters only, ended by stop strings. It is what the text of
/// prompt and continuation has beyond that of the prompt: decoders trim the space that begins a text, and a
/// continuation begins none.
class TextStream {
 public:
  /// `prompt` may be empty; then the continuation is a text of its own.
  TextStream(const std::shared_ptr<const text::Tokenizer>& tokenizer, std::span<const int64_t> prompt,
             std::vector<std::string> stop_strings, bool skip_special_tokens = true);

  /// The text that may be shown now that the token has come; often "".
  std::string push(int64_t token);
  /// The rest, when no token comes any more.
  std::string finish();
  /// A stop string has come: the continuation ends here.
  bool stopped() const { return stops_.stopped(); }
  /// All text so far.
  const std::string& text() const { return text_; }

 private:
  std::string without_prompt(std::string piece);

  text::StreamDecoder decoder_;
  StopStrings stops_;
  std::string held_;  // what the decoder had not yet told of the prompt
  std::string text_;
};

}  // namespace incontext::decode

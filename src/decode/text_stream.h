#pragma once

#include <span>
#include <string>
#include <vector>

#include "decode/stop_strings.h"
#include "text/continuation_decoder.h"

namespace incontext::decode {

/// The text of a continuation (see ContinuationDecoder), token by token: whole characters only, ended by stop strings.
class TextStream {
 public:
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
  text::ContinuationDecoder decoder_;
  StopStrings stops_;
  std::string text_;
};

}  // namespace incontext::decode

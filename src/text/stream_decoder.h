#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "text/tokenizer.h"

namespace incontext::text {

/// Text from ids that come one after another. The pieces together are exactly Tokenizer::decode() of all ids, and each
/// holds only whole characters: what later ids could still change is held back. Not thread-safe.
class StreamDecoder {
 public:
  explicit StreamDecoder(std::shared_ptr<const Tokenizer> tokenizer, bool skip_special_tokens = false);

  /// The text that is certain now that `id` has come; often "".
  std::string push(int64_t id);

  /// The rest, at the end (an unfinished character becomes U+FFFD). A new text may begin after it.
  std::string finish();

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  bool skip_special_tokens_;
  DecodeRun run_;
};

}  // namespace incontext::text

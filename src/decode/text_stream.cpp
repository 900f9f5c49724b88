#include "decode/text_stream.h"

namespace incontext::decode {

TextStream::TextStream(const std::shared_ptr<const text::Tokenizer>& tokenizer, std::span<const int64_t> prompt,
                       std::vector<std::string> stop_strings, bool skip_special_tokens)
    : decoder_(tokenizer, prompt, skip_special_tokens), stops_(std::move(stop_strings)) {}

std::string TextStream::push(int64_t token) {
  std::string shown = stops_.add(decoder_.push(token));
  text_ += shown;
  return shown;
}

std::string TextStream::finish() {
  std::string shown = stops_.add(decoder_.finish());
  if (!stops_.stopped()) shown += stops_.finish();
  text_ += shown;
  return shown;
}

}  // namespace incontext::decode

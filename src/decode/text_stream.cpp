#include "decode/text_stream.h"

#include <algorithm>

namespace incontext::decode {
namespace {

// What lies further back changes nothing: characters take four tokens at most, and special tokens in a row are few.
constexpr size_t kTokensLookedAt = 64;

}  // namespace

TextStream::TextStream(const std::shared_ptr<const text::Tokenizer>& tokenizer, std::span<const int64_t> prompt,
                       std::vector<std::string> stop_strings, bool skip_special_tokens)
    : decoder_(tokenizer, skip_special_tokens), stops_(std::move(stop_strings)) {
  text::StreamDecoder alone(tokenizer, skip_special_tokens);
  size_t told = 0;
  for (const int64_t token : prompt.last(std::min(prompt.size(), kTokensLookedAt))) {
    told += decoder_.push(token).size();
    held_ += alone.push(token);
  }
  held_ += alone.finish();
  held_.erase(0, told);
}

std::string TextStream::push(int64_t token) {
  std::string shown = stops_.add(without_prompt(decoder_.push(token)));
  text_ += shown;
  return shown;
}

std::string TextStream::finish() {
  std::string shown = stops_.add(without_prompt(decoder_.finish()));
  if (!stops_.stopped()) shown += stops_.finish();
  text_ += shown;
  return shown;
}

std::string TextStream::without_prompt(std::string piece) {
  const size_t common = std::min(piece.size(), held_.size());
  if (piece.compare(0, common, held_, 0, common) == 0) {
    piece.erase(0, common);
    held_.erase(0, common);
  } else {
    held_.clear();  // a character that the prompt left unfinished
  }
  return piece;
}

}  // namespace incontext::decode

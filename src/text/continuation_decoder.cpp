#include "text/continuation_decoder.h"

#include <algorithm>

namespace incontext::text {
namespace {

// What lies further back changes nothing: characters take four tokens at most, and special tokens in a row are few.
constexpr size_t kTokensLookedAt = 64;

}  // namespace

ContinuationDecoder::ContinuationDecoder(const std::shared_ptr<const Tokenizer>& tokenizer,
                                         std::span<const int64_t> prompt, bool skip_special_tokens)
    : decoder_(tokenizer, skip_special_tokens) {
  StreamDecoder alone(tokenizer, skip_special_tokens);
  size_t told = 0;
  for (const int64_t id : prompt.last(std::min(prompt.size(), kTokensLookedAt))) {
    told += decoder_.push(id).size();
    held_ += alone.push(id);
  }
  held_ += alone.finish();
  held_.erase(0, told);
}

std::string ContinuationDecoder::without_prompt(std::string piece) {
  const size_t common = std::min(piece.size(), held_.size());
  if (piece.compare(0, common, held_, 0, common) == 0) {
    piece.erase(0, common);
    held_.erase(0, common);
  } else {
    held_.clear();  // a character that the prompt left unfinished
  }
  return piece;
}

}  // namespace incontext::text

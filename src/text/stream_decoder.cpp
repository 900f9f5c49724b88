#include "text/stream_decoder.h"

namespace incontext::text {

StreamDecoder::StreamDecoder(std::shared_ptr<const Tokenizer> tokenizer, bool skip_special_tokens)
    : tokenizer_(std::move(tokenizer)), skip_special_tokens_(skip_special_tokens), run_(tokenizer_->start_decoding()) {}

std::string StreamDecoder::push(int64_t id) {
  auto token = tokenizer_->token_for_decoding(id, skip_special_tokens_);
  return token ? run_.push(std::move(*token)) : "";
}

std::string StreamDecoder::finish() {
  std::string rest = run_.finish();
  run_ = tokenizer_->start_decoding();
  return rest;
}

}  // namespace incontext::text

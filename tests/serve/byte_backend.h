#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "serve/backend.h"

namespace incontext::testing {

/// The half of a backend without a model: tokens are bytes, and 256 begins a text.
class ByteBackend : public serve::Backend {
 public:
  ByteBackend(std::vector<std::string> names, int64_t context) {
    card_.fingerprint = "fp_" + names.front();
    card_.names = std::move(names);
    card_.context = context;
    card_.vocabulary = 257;
    card_.max_batch = 2;
    card_.chat = true;
    card_.caches = {"full", "full:f32"};
  }

  const serve::BackendCard& card() const override { return card_; }

  std::vector<int64_t> encode(const std::string& text, bool add_special_tokens) const override {
    std::vector<int64_t> tokens;
    if (add_special_tokens) tokens.push_back(256);
    for (const char c : text) tokens.push_back(static_cast<unsigned char>(c));
    return tokens;
  }

  std::string decode(const std::vector<int64_t>& tokens) const override {
    std::string text;
    for (const int64_t token : tokens) text += token_bytes(token);
    return text;
  }

  std::string token_bytes(int64_t token) const override {
    INCONTEXT_ASSERT(token >= 0 && token < card_.vocabulary);
    return token == 256 ? "<s>" : std::string(1, static_cast<char>(token));
  }

  std::string cache_policy(const std::string& text) const override {
    base::check(text.starts_with("full"), "'{}' is no cache policy", text);
    return text;
  }

 private:
  serve::BackendCard card_;
};

}  // namespace incontext::testing

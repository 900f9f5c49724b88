#pragma once

#include <string>
#include <vector>

#include "base/config_node.h"
#include "serve/completion_request.h"
#include "serve/exchange.h"

namespace incontext::serve {

/// The answer to a CompletionRequest in OpenAI's shapes, built from events: as one object, or as chunks on the way.
class Answer {
 public:
  /// `identity` goes into the answer's id.
  Answer(const CompletionRequest& request, const Backend& backend, const std::string& identity);

  /// The chunks that come before any event.
  std::vector<base::Json> start();
  /// Takes an event and returns what it adds. A continuation that failed is a RequestError with status 500.
  std::vector<base::Json> take(const ContinuationEvent& event);
  /// With include_usage: the chunk after all others.
  std::vector<base::Json> finish() const;
  /// All of it, when every continuation has ended.
  base::Json whole() const;

 private:
  struct Choice {
    std::string text;
    base::Json logprobs = nullptr;
    base::Json finish_reason = nullptr;
    int64_t prompt_tokens = 0, reused = 0, generated = 0, cache_bytes = 0;
    int64_t prompt_characters = 0;  // of the prompt's tokens, where they are scored
    int64_t offset = 0;             // in the text, of the next token with log-probabilities
  };

  base::Json head(const char* object) const;
  base::Json chunk(size_t index, const std::string& text, const base::Json& logprobs, const base::Json& finish) const;
  base::Json usage() const;
  base::Json new_logprobs() const;
  void add_score(base::Json& logprobs, Choice& choice, const decode::Choice& score) const;
  void add_first_prompt_token(base::Json& logprobs, Choice& choice) const;
  void add_offset(base::Json& logprobs, Choice& choice, int64_t token) const;
  std::string token_text(int64_t token) const;

  const Backend& backend_;
  std::string id_;
  int64_t created_;
  bool chat_, include_usage_;
  int64_t per_prompt_;
  int64_t top_logprobs_;
  std::string cache_policy_;
  std::vector<std::string> echoes_;
  std::vector<int64_t> first_tokens_;  // of prompts whose tokens are scored
  std::vector<Choice> choices_;
};

}  // namespace incontext::serve

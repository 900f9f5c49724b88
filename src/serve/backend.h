#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/config_node.h"
#include "decode/finish.h"
#include "decode/sampling.h"
#include "text/chat_template.h"

namespace incontext::serve {

/// What a client wants continued.
struct ContinuationRequest {
  std::vector<int64_t> prompt;
  int64_t max_tokens = 16;
  decode::SamplingOptions sampling = {};
  int64_t min_tokens = 0;                    // before so many nothing ends the continuation
  std::vector<std::string> stop = {};        // texts that end the continuation
  std::vector<int64_t> stop_token_ids = {};  // tokens that do, beside those of the model
  bool include_stop = false;                 // what ends it is part of it
  bool ignore_eos = false;                   // the model's own tokens do not end it
  bool skip_special_tokens = true;           // the text shows no special tokens
  std::string cache = "full";                // as Backend::cache_policy() tells it
  int64_t top_logprobs = -1;                 // -1: no log-probabilities at all
  bool prompt_logprobs = false;
};

using decode::Finish;

/// What a client wants answered: what the template is given, and how its prompt ends.
struct ChatPrompt {
  base::Json messages;
  base::Json tools = nullptr;
  base::Json variables = base::Json::object();
  text::ChatEnd end = text::ChatEnd::next_turn;
  bool add_special_tokens = false;
};

/// What the server is told about a continuation, in this order, on a thread of the backend; none may block.
struct ContinuationEvents {
  /// Tokens of the prompt done, of them reused from earlier continuations.
  std::function<void(int64_t done, int64_t reused)> on_prompt;
  /// With prompt_logprobs: of prompt tokens 1, 2, …, part after part.
  std::function<void(const std::vector<decode::Choice>& scores)> on_prompt_scores;
  /// A token, and the text that may be shown now that it has come (often none: a character is not yet whole).
  std::function<void(const decode::Choice& token, const std::string& text)> on_token;
  /// Then the end: the token that ended the text and is no part of it, such as "</s>".
  std::function<void(const decode::Choice& token)> on_stop_token;
  /// Before the end, where there was a cache: the bytes that it came to hold.
  std::function<void(int64_t bytes)> on_cache;
  /// Once, at the end, when all that the continuation held is freed: the rest of the text, and what went wrong.
  std::function<void(Finish finish, const std::string& rest, const std::string& error)> on_end;
};

/// What does not change while a backend lives.
struct BackendCard {
  std::vector<std::string> names;  // of the model; the first is told to clients
  int64_t context = 0;             // tokens that prompt and continuation have together
  int64_t vocabulary = 0;
  int64_t max_batch = 1;                                        // continuations that run at once
  bool chat = false;                                            // the model has a chat template that can be read
  std::string chat_problem = "the model has no chat template";  // otherwise: why not
  std::vector<std::string> caches;                              // policies that requests may name; the first is usual
  std::string fingerprint;                                      // of all that answers depend on
  decode::SamplingOptions sampling;                             // where a request is silent
};

struct BackendStatus {
  int64_t waiting = 0, running = 0;
  int64_t cache_limit = 0, prefix_bytes = 0;
  std::map<std::string, int64_t> cache_bytes, cache_tokens;  // of what runs, by policy
  std::map<std::string, int64_t> fixed_bytes;                // that all caches of a policy share, such as dictionaries
};

/// What computes. The HTTP layer sees nothing else of models. All members may be called from any thread; mistakes of
/// the caller are base::Errors.
class Backend {
 public:
  virtual ~Backend() = default;

  virtual const BackendCard& card() const = 0;
  virtual std::vector<int64_t> encode(const std::string& text, bool add_special_tokens) const = 0;
  virtual std::string decode(const std::vector<int64_t>& tokens) const = 0;
  /// What the token adds to a text; alone it need not be whole characters.
  virtual std::string token_bytes(int64_t token) const = 0;
  virtual std::vector<int64_t> encode_chat(const ChatPrompt& prompt) const = 0;
  /// The cache policy that a request's text names, in its one spelling. What is not offered, what this model cannot
  /// have and what there is no memory for are Errors.
  virtual std::string cache_policy(const std::string& text) const = 0;

  /// Begins a continuation and returns its number.
  virtual int64_t submit(ContinuationRequest request, ContinuationEvents events) = 0;
  virtual void cancel(int64_t number) = 0;
  virtual BackendStatus status() const = 0;
};

}  // namespace incontext::serve

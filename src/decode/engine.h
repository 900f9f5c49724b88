#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "cache/kind.h"
#include "decode/engine_options.h"
#include "decode/finish.h"
#include "decode/prefix_store.h"
#include "decode/sampling.h"
#include "models/language_model.h"

namespace incontext::decode {

/// Where a request's hook stands.
struct RequestBoundary {
  int64_t layer = 0;           // the layer that runs next; the number of layers after the last
  int64_t loop = 0;            // of a looped model, from 1; otherwise 0
  int64_t first_position = 0;  // of the first row
  int64_t prompt_tokens = 0;   // positions below it are those of the prompt
};

/// What a client wants continued.
struct GenerationRequest {
  std::vector<int64_t> prompt;  // at least one token
  int64_t max_tokens = 16;
  SamplingOptions sampling = {};
  std::vector<int64_t> stop_ids = {};  // each ends the text, and is not part of it
  int64_t min_tokens = 0;              // before so many are generated, neither stop_ids nor late_ids are chosen
  std::vector<int64_t> late_ids = {};  // where the owner watches for the end itself
  cache::CachePolicy policy = {.kind = "full"};
  int64_t top_logprobs = -1;     // how many of the likeliest to tell with every token; -1: no log-probabilities at all
  bool prompt_logprobs = false;  // tell those of the prompt's tokens too
  /// Called at layer boundaries with this request's rows [count, width], which it may read or replace.
  std::function<void(const RequestBoundary& boundary, torch::Tensor& rows)> hook = {};
  /// Names what beside the tokens this request's cache depends on, such as what its hook replaces: only requests of one
  /// variant share prefixes. A request with a hook and no name shares none.
  std::string variant = {};
};

/// What the owner of a request is told, in this order, on the thread that runs the engine. All but on_token may be
/// empty.
struct GenerationEvents {
  /// After every part of the prompt: tokens done, of them reused from earlier sequences.
  std::function<void(int64_t done, int64_t reused)> on_prompt = {};
  /// With prompt_logprobs: of prompt tokens 1, 2, … (the first has none), part after part.
  std::function<void(const std::vector<Choice>& scores)> on_prompt_scores = {};
  /// A token of the continuation. False ends the request there, as Finish::stop.
  std::function<bool(const Choice& choice)> on_token = {};
  /// Before the end, where there was a cache: the bytes that it came to hold.
  std::function<void(int64_t bytes)> on_cache = {};
  /// Once, at the end; the cache is freed by then. `error` is empty unless `finish` is error.
  std::function<void(Finish finish, const std::string& error)> on_end = {};
};

/// What an engine has done and holds.
struct EngineStatus {
  int64_t waiting = 0, running = 0;
  int64_t prompt_tokens = 0, reused_tokens = 0, generated_tokens = 0, steps = 0;
  int64_t recomputed_tokens = 0;  // read again because longer sequences have other rotary factors
  int64_t cache_limit = 0;
  std::map<std::string, int64_t> cache_bytes;   // of running sequences, by policy
  std::map<std::string, int64_t> cache_tokens;  // the tokens that they have seen
  int64_t prefix_bytes = 0;
};

/// Continuous batching: every step takes the next token of each sequence that is being continued, and parts of the
/// prompts of those that are not yet, in one ragged batch. A sequence's tokens do not depend on who else is in it, nor
/// on the parts, nor on what was served before: each is chosen from what one pass over all tokens before it computes.
/// Where rotary factors depend on the length (longrope, dynamic) a sequence that grows into others is computed again
/// from its first token: once with longrope, for every token beyond the first context with dynamic.
///
/// submit(), cancel() and status() may be called from any thread; step() and run() from one.
class Engine {
 public:
  /// `model` must outlive the engine.
  Engine(const models::LanguageModel& model, const EngineOptions& options);

  /// The kind of this policy, opened once and for as long as someone holds it. An Error where the memory for caches
  /// does not even hold its smallest cache.
  std::shared_ptr<const cache::CacheKind> check_policy(const cache::CachePolicy& policy) const;

  /// Takes a request and returns its number. A request that can never run (no room in the context or in the memory for
  /// caches) is an Error that tells what was asked and what there is.
  int64_t submit(GenerationRequest request, GenerationEvents events);
  /// Ends a request at the next step; its cache is freed then.
  void cancel(int64_t id);

  /// One step. False when there was nothing to do.
  bool step();
  /// Steps until `stop` is set, sleeping while there is nothing to do.
  void run(const std::atomic<bool>& stop);
  /// Steps until nothing is left to do.
  void finish();

  /// Gives the engine what was remembered of a sequence, for prompts that begin as it did. From the thread of step().
  void add_prefix(std::unique_ptr<cache::SequenceState> state);
  /// What is kept of a sequence of just these tokens, or null. From the thread of step(), valid until the next one.
  const cache::SequenceState* find_prefix(std::span<const int64_t> tokens, const cache::CachePolicy& policy) const;

  EngineStatus status() const;
  const EngineOptions& options() const { return options_; }

 private:
  struct Sequence {
    int64_t id = 0;
    GenerationRequest request;
    GenerationEvents events;
    std::shared_ptr<const cache::CacheKind> kind = {};
    std::unique_ptr<cache::SequenceState> state = {};
    int64_t reserved = 0;  // bytes of its cache: the most while its prompt is read, then when it is full
    int64_t reused = 0;
    std::vector<int64_t> generated = {};

    int64_t prompt_size() const { return static_cast<int64_t>(request.prompt.size()); }
    int64_t generated_size() const { return static_cast<int64_t>(generated.size()); }
    /// Tokens there are so far, of the prompt and of the continuation.
    int64_t size() const { return prompt_size() + generated_size(); }
    int64_t token(int64_t index) const {
      return index < prompt_size() ? request.prompt[static_cast<size_t>(index)]
                                   : generated[static_cast<size_t>(index - prompt_size())];
    }
    int64_t held() const { return state->position(); }
    /// The newest token of the continuation is all that the cache lacks. Otherwise the sequence is read part by part:
    /// its prompt, or all of it again where its rotary factors have changed.
    bool decoding() const { return !generated.empty() && held() + 1 == size(); }
    bool first_reading() const { return generated.empty(); }
    int64_t capacity() const { return prompt_size() + request.max_tokens; }
    bool shares_prefixes() const { return !request.hook || !request.variant.empty(); }
  };
  struct Part;  // one sequence's tokens in a step

  void check_request(const GenerationRequest& request) const;
  void take_new_requests();
  void drop_cancelled();
  void admit();
  bool waits_for_prefix(const Sequence& sequence) const;
  std::shared_ptr<const cache::CacheKind> kind_of(const cache::CachePolicy& policy) const;
  void forget_unused_kinds() const;
  PrefixKey key_of(const Sequence& sequence) const;
  void open_state(Sequence& sequence);
  int64_t next_stop(const Sequence& sequence) const;
  void after_part(Sequence& sequence);
  void keep_copy(const Sequence& sequence);
  static models::Hook hook_of(const std::vector<Part>& parts);
  void renew_outgrown();
  std::vector<Part> plan() const;
  void run_parts(const std::vector<Part>& parts);
  void advance(const Part& part, const torch::Tensor& logits);
  void take_choice(Sequence& sequence, const Choice& choice);
  void end(Sequence& sequence, Finish finish, const std::string& error = "");
  void remove_ended();
  void update_status();

  const models::LanguageModel& model_;
  EngineOptions options_;
  int64_t vocabulary_;
  PrefixStore prefixes_;
  mutable std::mutex kinds_mutex_;
  mutable std::map<std::string, std::shared_ptr<const cache::CacheKind>>
      kinds_;  // by policy, in its own spelling and others
  int64_t reserved_ = 0;
  std::deque<std::unique_ptr<Sequence>> waiting_;
  std::vector<std::unique_ptr<Sequence>> running_;

  mutable std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  std::vector<std::unique_ptr<Sequence>> inbox_;
  std::set<int64_t> cancelled_;
  int64_t next_id_ = 1;
  EngineStatus status_;
};

}  // namespace incontext::decode

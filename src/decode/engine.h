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

#include "cache/policy.h"
#include "decode/engine_options.h"
#include "decode/prefix_store.h"
#include "decode/sampling.h"
#include "models/language_model.h"

namespace incontext::decode {

enum class Finish { stop, length, cancelled, error };

/// What a client wants continued.
struct GenerationRequest {
  std::vector<int64_t> prompt;  // at least one token
  int64_t max_tokens = 16;
  SamplingOptions sampling = {};
  std::vector<int64_t> stop_ids = {};  // each ends the text, and is not part of it
  cache::CachePolicy policy = {};
  int64_t top_logprobs = -1;     // how many of the likeliest to tell with every token; -1: no log-probabilities at all
  bool prompt_logprobs = false;  // tell those of the prompt's tokens too
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
  /// Once, at the end; the cache is freed by then. `error` is empty unless `finish` is error.
  std::function<void(Finish finish, const std::string& error)> on_end = {};
};

/// What an engine has done and holds.
struct EngineStatus {
  int64_t waiting = 0, running = 0;
  int64_t prompt_tokens = 0, reused_tokens = 0, generated_tokens = 0, steps = 0;
  int64_t cache_limit = 0;
  std::map<std::string, int64_t> cache_bytes;  // by policy, running sequences and kept prefixes
  int64_t prefix_bytes = 0;
};

/// Continuous batching: every step takes the next token of each sequence that is being continued, and parts of the
/// prompts of those that are not yet, in one ragged batch. A sequence's tokens do not depend on who else is in it.
///
/// submit(), cancel() and status() may be called from any thread; step() and run() from one.
class Engine {
 public:
  /// `model` must outlive the engine.
  Engine(const models::LanguageModel& model, const EngineOptions& options);

  /// An Error where the memory for caches does not even hold the smallest one of this policy.
  void check_policy(const cache::CachePolicy& policy) const;

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

  EngineStatus status() const;
  const EngineOptions& options() const { return options_; }

 private:
  struct Sequence {
    int64_t id = 0;
    GenerationRequest request;
    GenerationEvents events;
    std::unique_ptr<cache::SequenceState> state = {};
    int64_t reserved = 0;  // bytes of its cache when it is full
    int64_t reused = 0;
    std::vector<int64_t> generated = {};

    int64_t prompt_size() const { return static_cast<int64_t>(request.prompt.size()); }
    int64_t held() const { return static_cast<int64_t>(state->tokens.size()); }
    bool decoding() const { return held() >= prompt_size(); }
    int64_t capacity() const { return prompt_size() + request.max_tokens; }
  };
  struct Part;  // one sequence's tokens in a step

  void check_request(const GenerationRequest& request) const;
  void take_new_requests();
  void drop_cancelled();
  void admit();
  bool waits_for_prefix(const Sequence& sequence) const;
  void begin(Sequence& sequence);
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

#include "decode/engine.h"

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "base/reservation.h"
#include "base/text.h"
#include "tensor/device.h"

namespace incontext::decode {
namespace {

// Logits of a whole vocabulary are large: parts of prompts whose every token is scored are kept small.
constexpr int64_t kScoredPromptPart = 64;
// Copying shorter prefixes is not worth the trouble.
constexpr int64_t kShortestPrefix = 16;

EngineOptions resolve(EngineOptions options) {
  if (options.cache_memory == 0) options.cache_memory = static_cast<int64_t>(base::available_memory() / 2);
  if (options.prefix_memory < 0) options.prefix_memory = options.cache_memory / 4;
  return options;
}

// Its options while its text may not end yet. Finite, so that a request that holds every token back has tokens still.
SamplingOptions without_ends(const GenerationRequest& request) {
  constexpr double kLast = -1e30;
  SamplingOptions options = request.sampling;
  for (const int64_t token : request.stop_ids) options.logit_bias[token] = kLast;
  for (const int64_t token : request.late_ids) options.logit_bias[token] = kLast;
  return options;
}

std::string bytes_text(int64_t bytes) { return base::format_bytes(static_cast<double>(bytes)); }

}  // namespace

struct Engine::Part {
  Sequence* sequence = nullptr;
  int64_t first = 0;  // of the sequence's tokens
  int64_t count = 0;
  bool reads_all = false;   // logits of every token
  bool reads_last = false;  // of the last one
  int64_t first_row = 0;    // of its logits
  int64_t rows() const { return reads_all ? count : (reads_last ? 1 : 0); }
};

Engine::Engine(const models::LanguageModel& model, const EngineOptions& options)
    : model_(model),
      options_(resolve(options)),
      vocabulary_(options.sampled_tokens > 0 ? std::min(options.sampled_tokens, model.config().options.vocabulary)
                                             : model.config().options.vocabulary),
      prefixes_(options_.prefix_memory) {
  status_.cache_limit = options_.cache_memory;
}

void Engine::check_policy(const cache::CachePolicy& policy) const {
  const int64_t bytes = cache::full_bytes(policy, model_.cache_shape(2));
  base::check(bytes <= options_.cache_memory,
              "a cache of one token and its answer takes {}, and all caches together may hold {}", bytes_text(bytes),
              bytes_text(options_.cache_memory));
}

void Engine::check_request(const GenerationRequest& request) const {
  const auto prompt = static_cast<int64_t>(request.prompt.size());
  const int64_t context = model_.config().context;
  base::check(prompt > 0, "the prompt holds no token");
  base::check(request.max_tokens >= 0, "max_tokens: expected at least 0, got {}", request.max_tokens);
  base::check(prompt + request.max_tokens <= context,
              "the prompt has {} tokens and max_tokens is {}: {} in all, and the model's context holds {}", prompt,
              request.max_tokens, prompt + request.max_tokens, context);
  for (const int64_t token : request.prompt) {
    base::check(token >= 0 && token < model_.config().options.vocabulary, "prompt: expected token ids below {}, got {}",
                model_.config().options.vocabulary, token);
  }
  const int64_t bytes = cache::full_bytes(request.policy, model_.cache_shape(prompt + request.max_tokens));
  base::check(bytes <= options_.cache_memory, "a cache of {} tokens takes {}, and all caches together may hold {}",
              prompt + request.max_tokens, bytes_text(bytes), bytes_text(options_.cache_memory));
}

int64_t Engine::submit(GenerationRequest request, GenerationEvents events) {
  check_request(request);
  auto sequence = std::make_unique<Sequence>();
  sequence->reserved = cache::full_bytes(
      request.policy, model_.cache_shape(static_cast<int64_t>(request.prompt.size()) + request.max_tokens));
  sequence->request = std::move(request);
  sequence->events = std::move(events);
  const std::lock_guard lock(mutex_);
  const int64_t id = next_id_++;
  sequence->id = id;
  inbox_.push_back(std::move(sequence));
  ++status_.waiting;
  changed_.notify_one();
  return id;
}

void Engine::cancel(int64_t id) {
  const std::lock_guard lock(mutex_);
  cancelled_.insert(id);
  changed_.notify_one();
}

EngineStatus Engine::status() const {
  const std::lock_guard lock(mutex_);
  return status_;
}

void Engine::take_new_requests() {
  const std::lock_guard lock(mutex_);
  for (auto& sequence : inbox_) waiting_.push_back(std::move(sequence));
  inbox_.clear();
}

void Engine::drop_cancelled() {
  std::set<int64_t> cancelled;
  {
    const std::lock_guard lock(mutex_);
    cancelled.swap(cancelled_);
  }
  if (cancelled.empty()) return;
  for (auto& sequence : running_) {
    if (cancelled.contains(sequence->id)) end(*sequence, Finish::cancelled);
  }
  for (auto& sequence : waiting_) {
    if (cancelled.contains(sequence->id) && sequence->events.on_end) sequence->events.on_end(Finish::cancelled, "");
  }
  std::erase_if(waiting_, [&](const auto& sequence) { return cancelled.contains(sequence->id); });
  remove_ended();
}

// Whether a running sequence is about to hold more of this prompt than it does now: then the rest is worth waiting for
// (several continuations of one prompt compute it once).
bool Engine::waits_for_prefix(const Sequence& sequence) const {
  if (sequence.request.prompt_logprobs) return false;
  const std::string policy = sequence.request.policy.text();
  return std::any_of(running_.begin(), running_.end(), [&](const auto& other) {
    if (other->decoding() || other->request.policy.text() != policy) return false;
    const int64_t same = common_prefix(other->request.prompt, sequence.request.prompt);
    return same >= kShortestPrefix && same > other->held();
  });
}

void Engine::admit() {
  while (!waiting_.empty() && static_cast<int64_t>(running_.size()) < options_.max_batch) {
    Sequence& next = *waiting_.front();
    if (reserved_ + next.reserved > options_.cache_memory || waits_for_prefix(next)) return;
    const int64_t over = reserved_ + next.reserved + prefixes_.bytes() - options_.cache_memory;
    if (over > 0) prefixes_.shrink(over);
    std::unique_ptr<Sequence> sequence = std::move(waiting_.front());
    waiting_.pop_front();
    try {
      begin(*sequence);
    } catch (const std::exception& error) {
      if (sequence->events.on_end) sequence->events.on_end(Finish::error, error.what());
      continue;
    }
    reserved_ += sequence->reserved;
    running_.push_back(std::move(sequence));
  }
}

void Engine::begin(Sequence& sequence) {
  const std::vector<int64_t>& prompt = sequence.request.prompt;
  const std::unique_ptr<cache::KvCache> empty =
      cache::make_cache(sequence.request.policy, model_.cache_shape(sequence.capacity()));
  const std::string policy = empty->policy();
  // The last token is always computed: its logits are wanted.
  const std::span<const int64_t> reusable(prompt.data(), prompt.size() - 1);
  int64_t best = 0;
  const Sequence* owner = nullptr;
  if (!sequence.request.prompt_logprobs) {
    best = prefixes_.longest(reusable, policy);
    for (const auto& other : running_) {
      const int64_t same = common_prefix(other->state->tokens, reusable);
      if (same > best && other->state->cache->policy() == policy) {
        best = same;
        owner = other.get();
      }
    }
  }
  if (best >= kShortestPrefix && owner != nullptr) {
    sequence.state = std::make_unique<cache::SequenceState>();
    sequence.state->tokens.assign(prompt.begin(), prompt.begin() + best);
    sequence.state->cache = owner->state->cache->copy_prefix(best, sequence.capacity());
  } else if (best >= kShortestPrefix) {
    sequence.state = prefixes_.copy(reusable, policy, best, sequence.capacity());
  }
  if (!sequence.state) {
    sequence.state = std::make_unique<cache::SequenceState>();
    sequence.state->cache = cache::make_cache(sequence.request.policy, model_.cache_shape(sequence.capacity()));
  }
  sequence.reused = sequence.held();
}

std::vector<Engine::Part> Engine::plan() const {
  std::vector<Part> parts;
  for (const auto& sequence : running_) {
    if (sequence->decoding()) {
      parts.push_back({.sequence = sequence.get(), .first = sequence->held(), .count = 1, .reads_last = true});
    }
  }
  int64_t room = parts.empty() ? options_.prompt_part : options_.prompt_part_while_decoding;
  for (const auto& sequence : running_) {
    if (sequence->decoding() || room <= 0) continue;
    Part part{.sequence = sequence.get(), .first = sequence->held()};
    part.reads_all = sequence->request.prompt_logprobs;
    part.count = std::min(room, sequence->prompt_size() - part.first);
    if (part.reads_all) part.count = std::min(part.count, kScoredPromptPart);
    part.reads_last = part.first + part.count == sequence->prompt_size();
    room -= part.count;
    parts.push_back(part);
  }
  return parts;
}

void Engine::run_parts(const std::vector<Part>& planned) {
  std::vector<Part> parts = planned;
  models::Step step;
  std::vector<int64_t> tokens, read;
  int64_t prompt_tokens = 0;
  for (Part& part : parts) {
    Sequence& sequence = *part.sequence;
    step.sequences.push_back({sequence.state.get(), part.count});
    part.first_row = static_cast<int64_t>(read.size());
    if (!sequence.decoding()) prompt_tokens += part.count;
    for (int64_t i = 0; i < part.count; ++i) {
      const bool last = i + 1 == part.count;
      if (part.reads_all || (last && part.reads_last)) read.push_back(static_cast<int64_t>(tokens.size()));
      tokens.push_back(sequence.decoding() ? sequence.generated.back()
                                           : sequence.request.prompt[static_cast<size_t>(part.first + i)]);
    }
  }
  torch::Tensor logits;
  try {
    logits = model_.logits(tokens, step, read);
  } catch (const std::exception& error) {
    for (const Part& part : parts) end(*part.sequence, Finish::error, error.what());
    remove_ended();
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    ++status_.steps;
    status_.prompt_tokens += prompt_tokens;
  }
  size_t at = 0;
  for (const Part& part : parts) {
    std::vector<int64_t>& held = part.sequence->state->tokens;
    held.insert(held.end(), tokens.begin() + static_cast<std::ptrdiff_t>(at),
                tokens.begin() + static_cast<std::ptrdiff_t>(at) + part.count);
    at += static_cast<size_t>(part.count);
  }
  // Choosing from large vocabularies takes a while: every sequence on its own, in parallel.
  struct Outcome {
    Choice choice;
    std::string error;
  };
  std::vector<Outcome> outcomes(parts.size());
  const float* rows = logits.data_ptr<float>();
  const int64_t width = model_.config().options.vocabulary;
  tensor::kernel_pool().run(static_cast<int64_t>(parts.size()), [&](int64_t index, int) {
    const Part& part = parts[static_cast<size_t>(index)];
    if (!part.reads_last || part.sequence->request.max_tokens == 0) return;
    const Sequence& sequence = *part.sequence;
    const float* row = rows + (part.first_row + part.rows() - 1) * width;
    Outcome& outcome = outcomes[static_cast<size_t>(index)];
    try {
      const auto generated = static_cast<int64_t>(sequence.generated.size());
      const GenerationRequest& request = sequence.request;
      outcome.choice = choose({row, static_cast<size_t>(vocabulary_)},
                              generated < request.min_tokens ? without_ends(request) : request.sampling, request.prompt,
                              sequence.generated, request.top_logprobs);
    } catch (const std::exception& error) {
      outcome.error = error.what();
    }
  });
  for (size_t index = 0; index < parts.size(); ++index) {
    const Part& part = parts[index];
    Sequence& sequence = *part.sequence;
    try {
      advance(part, logits);
    } catch (const std::exception& error) {
      outcomes[index].error = error.what();
    }
    if (!outcomes[index].error.empty()) {
      end(sequence, Finish::error, outcomes[index].error);
    } else if (part.reads_last && sequence.request.max_tokens == 0) {
      end(sequence, Finish::length);
    } else if (part.reads_last) {
      take_choice(sequence, outcomes[index].choice);
    }
  }
  remove_ended();
}

// Tells the owner how far the prompt is, and the scores of its tokens.
void Engine::advance(const Part& part, const torch::Tensor& logits) {
  Sequence& sequence = *part.sequence;
  if (part.first >= sequence.prompt_size()) return;
  if (part.reads_all && sequence.events.on_prompt_scores) {
    std::vector<Choice> scores;
    const auto width = static_cast<size_t>(logits.size(1));
    for (int64_t i = 0; i < part.count && part.first + i + 1 < sequence.prompt_size(); ++i) {
      const float* row = logits.data_ptr<float>() + (part.first_row + i) * logits.size(1);
      scores.push_back(score({row, width}, sequence.request.prompt[static_cast<size_t>(part.first + i + 1)],
                             std::max<int64_t>(sequence.request.top_logprobs, 0)));
    }
    sequence.events.on_prompt_scores(scores);
  }
  if (sequence.events.on_prompt) sequence.events.on_prompt(sequence.held(), sequence.reused);
}

void Engine::take_choice(Sequence& sequence, const Choice& choice) {
  const std::vector<int64_t>& stop_ids = sequence.request.stop_ids;
  if (std::find(stop_ids.begin(), stop_ids.end(), choice.token) != stop_ids.end()) {
    end(sequence, Finish::stop);
    return;
  }
  sequence.generated.push_back(choice.token);
  {
    const std::lock_guard lock(mutex_);
    ++status_.generated_tokens;
  }
  if (!sequence.events.on_token(choice)) {
    end(sequence, Finish::stop);
  } else if (static_cast<int64_t>(sequence.generated.size()) == sequence.request.max_tokens) {
    end(sequence, Finish::length);
  }
}

void Engine::end(Sequence& sequence, Finish finish, const std::string& error) {
  if (!sequence.state) return;  // ended before
  reserved_ -= sequence.reserved;
  std::unique_ptr<cache::SequenceState> state = std::move(sequence.state);
  if (finish == Finish::stop || finish == Finish::length) {
    prefixes_.keep(std::move(state));
  } else {
    state.reset();
  }
  update_status();
  if (sequence.events.on_end) sequence.events.on_end(finish, error);
}

void Engine::remove_ended() {
  std::erase_if(running_, [](const auto& sequence) { return !sequence->state; });
}

void Engine::update_status() {
  std::map<std::string, int64_t> bytes;
  for (const auto& sequence : running_) {
    if (sequence->state) bytes[sequence->state->cache->policy()] += sequence->state->cache->bytes();
  }
  const std::lock_guard lock(mutex_);
  status_.waiting = static_cast<int64_t>(waiting_.size() + inbox_.size());
  status_.running =
      std::count_if(running_.begin(), running_.end(), [](const auto& each) { return each->state != nullptr; });
  status_.cache_bytes = std::move(bytes);
  status_.prefix_bytes = prefixes_.bytes();
}

bool Engine::step() {
  take_new_requests();
  drop_cancelled();
  admit();
  const std::vector<Part> parts = plan();
  if (!parts.empty()) run_parts(parts);
  update_status();
  return !parts.empty();
}

void Engine::run(const std::atomic<bool>& stop) {
  while (!stop) {
    if (step()) continue;
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::milliseconds(100), [&] { return !inbox_.empty() || !cancelled_.empty(); });
  }
}

void Engine::finish() {
  while (step()) {
  }
}

}  // namespace incontext::decode

#include "decode/engine.h"

#include <algorithm>
#include <chrono>
#include <functional>

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
// Tokens between snapshots of states that cannot be cut.
constexpr int64_t kSnapshotEvery = 512;

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
  bool reading = false;     // the prompt, or all of the sequence again
  bool reads_all = false;   // logits of every token
  bool reads_last = false;  // of the last one
  int64_t first_row = 0;    // of its logits
  int64_t rows() const { return reads_all ? count : (reads_last ? 1 : 0); }
};

Engine::Engine(const models::LanguageModel& model, const EngineOptions& options)
    : model_(model),
      options_(resolve(options)),
      vocabulary_(options.sampled_tokens > 0
                      ? std::min(options.sampled_tokens, model.config().options.tokens.vocabulary)
                      : model.config().options.tokens.vocabulary),
      prefixes_(options_.prefix_memory) {
  status_.cache_limit = options_.cache_memory;
}

std::shared_ptr<const cache::CacheKind> Engine::kind_of(const cache::CachePolicy& policy) const {
  const std::lock_guard lock(kinds_mutex_);
  std::shared_ptr<const cache::CacheKind>& kind = kinds_[policy.text()];
  if (kind) return kind;
  std::shared_ptr<const cache::CacheKind> opened;
  try {
    opened = cache::open_kind(policy, model_.cached_model());
  } catch (...) {
    kinds_.erase(policy.text());
    throw;
  }
  // Two spellings of one kind share it, so that their sequences go together.
  std::shared_ptr<const cache::CacheKind>& canonical = kinds_[opened->policy()];
  if (!canonical) canonical = opened;
  return kinds_[policy.text()] = canonical;
}

void Engine::check_policy(const cache::CachePolicy& policy) const {
  const int64_t bytes = model_.decoder().sequence_bytes(*kind_of(policy), 2);
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
    base::check(token >= 0 && token < model_.config().options.tokens.vocabulary,
                "prompt: expected token ids below {}, got {}", model_.config().options.tokens.vocabulary, token);
  }
  const int64_t bytes = model_.decoder().sequence_bytes(*kind_of(request.policy), prompt + request.max_tokens, prompt);
  base::check(bytes <= options_.cache_memory, "a cache of {} tokens takes {}, and all caches together may hold {}",
              prompt + request.max_tokens, bytes_text(bytes), bytes_text(options_.cache_memory));
}

int64_t Engine::submit(GenerationRequest request, GenerationEvents events) {
  check_request(request);
  auto sequence = std::make_unique<Sequence>();
  sequence->kind = kind_of(request.policy);
  sequence->request = std::move(request);
  sequence->events = std::move(events);
  sequence->reserved = model_.decoder().sequence_bytes(*sequence->kind, sequence->capacity(), sequence->prompt_size());
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
  if (sequence.request.prompt_logprobs || !sequence.shares_prefixes()) return false;
  const PrefixKey key = key_of(sequence);
  return std::any_of(running_.begin(), running_.end(), [&](const auto& other) {
    if (other->decoding() || !other->state->can_truncate() || key_of(*other) != key) return false;
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
      open_state(*sequence);
      sequence->reused = sequence->held();
    } catch (const std::exception& error) {
      if (sequence->events.on_end) sequence->events.on_end(Finish::error, error.what());
      continue;
    }
    {
      const std::lock_guard lock(mutex_);
      status_.reused_tokens += sequence->reused;
    }
    reserved_ += sequence->reserved;
    running_.push_back(std::move(sequence));
  }
}

// Gives a sequence a state for the tokens it has so far: an empty one, or a fork of what another sequence holds of
// them.
void Engine::open_state(Sequence& sequence) {
  std::vector<int64_t> tokens = sequence.request.prompt;
  tokens.insert(tokens.end(), sequence.generated.begin(), sequence.generated.end());
  PrefixKey key = key_of(sequence);
  key.rope_epoch = model_.rope_epoch(sequence.size());  // of what it will compute, whatever it held before
  // The last token is always computed: its logits are wanted.
  const std::span<const int64_t> reusable(tokens.data(), tokens.size() - 1);
  int64_t best = 0;
  const Sequence* owner = nullptr;
  if (sequence.shares_prefixes() && (!sequence.request.prompt_logprobs || !sequence.first_reading())) {
    best = prefixes_.longest(reusable, key);
    for (const auto& other : running_) {
      if (!other->state || !other->shares_prefixes() || key_of(*other) != key) continue;
      if (!other->state->serves_prompts()) continue;
      const int64_t same = usable_prefix(*other->state, reusable);
      if (same > best) {
        best = same;
        owner = other.get();
      }
    }
  }
  std::unique_ptr<cache::SequenceState> state;
  if (best >= kShortestPrefix) {
    state = owner != nullptr ? owner->state->fork(best, sequence.capacity())
                             : prefixes_.fork(reusable, key, best, sequence.capacity());
  }
  if (!state) state = model_.decoder().new_sequence(*sequence.kind, sequence.capacity());
  state->rope_epoch = key.rope_epoch;
  sequence.state = std::move(state);
}

PrefixKey Engine::key_of(const Sequence& sequence) const {
  // Of a running sequence the epoch of what it holds; of one that begins, that of what it will compute.
  const bool holds = sequence.state && sequence.state->rope_epoch;
  return {.policy = sequence.kind->policy(),
          .rope_epoch = holds ? *sequence.state->rope_epoch : model_.rope_epoch(sequence.size()),
          .variant = sequence.request.variant};
}

// Sequences whose next pass has other rotary factors than their cached keys begin anew, behind the others, so that one
// which does so at every token leaves room for theirs.
void Engine::renew_outgrown() {
  const auto outgrown = [&](const std::unique_ptr<Sequence>& sequence) {
    return sequence->decoding() && sequence->state->rope_epoch != model_.rope_epoch(sequence->size());
  };
  const auto first = std::stable_partition(running_.begin(), running_.end(), std::not_fn(outgrown));
  for (auto each = first; each != running_.end(); ++each) {
    try {
      open_state(**each);
    } catch (const std::exception& error) {
      end(**each, Finish::error, error.what());
    }
  }
  remove_ended();
}

// Where the next part of a sequence that is being read ends at the latest: at the end of its prompt, where its cache
// may be compressed, and where snapshots are taken of a state that cannot be cut.
int64_t Engine::next_stop(const Sequence& sequence) const {
  const int64_t held = sequence.held();
  const int64_t end = held < sequence.prompt_size() ? sequence.prompt_size() : sequence.size();
  if (sequence.state->can_truncate() || !sequence.shares_prefixes()) return end;
  int64_t stop = std::min(end, (held / kSnapshotEvery + 1) * kSnapshotEvery);
  if (held < sequence.prompt_size() - 1) stop = std::min(stop, sequence.prompt_size() - 1);
  return stop;
}

// After a part of a sequence that is being read.
void Engine::after_part(Sequence& sequence) {
  const int64_t held = sequence.held();
  if (held == sequence.prompt_size()) {
    if (sequence.kind->compresses_prompts() && sequence.shares_prefixes()) keep_copy(sequence);
    sequence.state->cache->end_of_prompt();
    if (sequence.first_reading()) {
      const int64_t reserved =
          model_.decoder().continuing_bytes(*sequence.kind, sequence.capacity(), sequence.prompt_size());
      reserved_ += reserved - sequence.reserved;
      sequence.reserved = reserved;
    }
  }
  if (sequence.state->can_truncate() || !sequence.shares_prefixes() || held < kShortestPrefix) return;
  // All but the last token of a prompt serves whoever sends it again.
  const bool due = held == sequence.prompt_size() - 1 || held % kSnapshotEvery == 0;
  if (due) keep_copy(sequence);
}

// Copies come on top of what running sequences have reserved, and together they keep to the limit.
void Engine::keep_copy(const Sequence& sequence) {
  const int64_t held = sequence.held();
  const int64_t bytes = sequence.state->bytes();
  if (held < kShortestPrefix || bytes > options_.prefix_memory) return;
  if (bytes > options_.cache_memory - reserved_ - prefixes_.bytes()) return;
  if (!sequence.state->serves_prompts()) return;
  prefixes_.keep(sequence.state->fork(held, held), key_of(sequence));
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
    Part part{.sequence = sequence.get(), .first = sequence->held(), .reading = true};
    part.reads_all = sequence->request.prompt_logprobs && sequence->first_reading();
    part.count = std::min(room, next_stop(*sequence) - part.first);
    if (part.reads_all) part.count = std::min(part.count, kScoredPromptPart);
    part.reads_last = part.first + part.count == sequence->size();
    room -= part.count;
    parts.push_back(part);
  }
  return parts;
}

void Engine::run_parts(const std::vector<Part>& planned) {
  std::vector<Part> parts = planned;
  models::Step step;
  std::vector<int64_t> tokens, read;
  int64_t prompt_tokens = 0, recomputed_tokens = 0;
  for (Part& part : parts) {
    Sequence& sequence = *part.sequence;
    step.sequences.push_back({sequence.state.get(), part.count});
    part.first_row = static_cast<int64_t>(read.size());
    if (sequence.first_reading()) {
      prompt_tokens += part.count;
    } else {
      recomputed_tokens += part.count - (part.reads_last ? 1 : 0);  // the newest is read for the first time
    }
    for (int64_t i = 0; i < part.count; ++i) {
      const bool last = i + 1 == part.count;
      if (part.reads_all || (last && part.reads_last)) read.push_back(static_cast<int64_t>(tokens.size()));
      tokens.push_back(sequence.token(part.first + i));
    }
  }
  step.hook = hook_of(parts);
  torch::Tensor logits;
  try {
    logits = model_.logits(tokens, step, read);
    for (const Part& part : parts) {
      if (part.reading) after_part(*part.sequence);
    }
  } catch (const std::exception& error) {
    for (const Part& part : parts) end(*part.sequence, Finish::error, error.what());
    remove_ended();
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    ++status_.steps;
    status_.prompt_tokens += prompt_tokens;
    status_.recomputed_tokens += recomputed_tokens;
  }
  // Choosing from large vocabularies takes a while: every sequence on its own, in parallel.
  struct Outcome {
    Choice choice;
    std::string error;
  };
  std::vector<Outcome> outcomes(parts.size());
  const float* rows = logits.data_ptr<float>();
  const int64_t width = model_.config().options.tokens.vocabulary;
  tensor::kernel_pool().run(static_cast<int64_t>(parts.size()), [&](int64_t index, int) {
    const Part& part = parts[static_cast<size_t>(index)];
    if (!part.reads_last || part.sequence->request.max_tokens == 0) return;
    const Sequence& sequence = *part.sequence;
    const float* row = rows + (part.first_row + part.rows() - 1) * width;
    Outcome& outcome = outcomes[static_cast<size_t>(index)];
    try {
      const auto generated = static_cast<int64_t>(sequence.generated.size());
      const GenerationRequest& request = sequence.request;
      outcome.choice = choose({row, static_cast<size_t>(width)},
                              generated < request.min_tokens ? without_ends(request) : request.sampling, request.prompt,
                              sequence.generated, request.top_logprobs, vocabulary_);
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

// Hands the rows of each request that has a hook to it.
models::Hook Engine::hook_of(const std::vector<Part>& parts) {
  if (std::none_of(parts.begin(), parts.end(), [](const Part& part) { return part.sequence->request.hook; })) return {};
  return [&parts](const models::Boundary& boundary, torch::Tensor& hidden) {
    for (size_t index = 0; index < parts.size(); ++index) {
      const Sequence& sequence = *parts[index].sequence;
      if (!sequence.request.hook) continue;
      const models::Boundary::Slice& slice = boundary.slices[index];
      const torch::Tensor rows = hidden.narrow(0, slice.first_row, slice.count);
      torch::Tensor shown = rows;
      sequence.request.hook({.layer = boundary.layer,
                             .loop = boundary.loop,
                             .first_position = slice.first_position,
                             .prompt_tokens = sequence.prompt_size()},
                            shown);
      base::check(shown.sizes() == rows.sizes(), "a hook replaced [{}] by [{}]", fmt::join(rows.sizes(), ", "),
                  fmt::join(shown.sizes(), ", "));
      if (!shown.is_same(rows)) rows.copy_(shown);
    }
  };
}

void Engine::add_prefix(std::unique_ptr<cache::SequenceState> state) {
  const PrefixKey key{.policy = state->cache->policy(), .rope_epoch = state->rope_epoch.value_or(0), .variant = {}};
  prefixes_.keep(std::move(state), key);
}

const cache::SequenceState* Engine::find_prefix(std::span<const int64_t> tokens,
                                                const cache::CachePolicy& policy) const {
  return prefixes_.find(tokens, kind_of(policy)->policy());
}

// Tells the owner how far the prompt is, and the scores of its tokens.
void Engine::advance(const Part& part, const torch::Tensor& logits) {
  Sequence& sequence = *part.sequence;
  if (!sequence.first_reading()) return;
  if (part.reads_all && sequence.events.on_prompt_scores) {
    std::vector<Choice> scores;
    const auto width = static_cast<size_t>(logits.size(1));
    for (int64_t i = 0; i < part.count && part.first + i + 1 < sequence.prompt_size(); ++i) {
      const float* row = logits.data_ptr<float>() + (part.first_row + i) * logits.size(1);
      scores.push_back(score({row, width}, sequence.request.prompt[static_cast<size_t>(part.first + i + 1)],
                             std::max<int64_t>(sequence.request.top_logprobs, 0), vocabulary_));
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
  const PrefixKey key = key_of(sequence);
  std::unique_ptr<cache::SequenceState> state = std::move(sequence.state);
  if (finish == Finish::stop || finish == Finish::length) {
    const bool serves = state->serves_prompts();
    if (sequence.shares_prefixes() && (serves || options_.keep_compressed)) {
      prefixes_.keep(std::move(state), key, serves);
    }
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
    if (sequence->state) bytes[sequence->state->cache->policy()] += sequence->state->bytes();
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
  renew_outgrown();
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

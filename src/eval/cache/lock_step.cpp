#include "eval/cache/lock_step.h"

#include <algorithm>
#include <chrono>

#include "base/error.h"

namespace incontext::eval {
namespace {

constexpr int64_t kPromptPart = 512;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

MeasuredPolicy full_policy(const models::LanguageModel& model) {
  return {.name = "full", .kind = cache::open_kind(cache::parse_policy("full"), model.cached_model())};
}

LockStep::LockStep(const models::LanguageModel& model, const std::vector<MeasuredPolicy>& policies, int64_t capacity)
    : model_(&model), read_seconds_(policies.size()), compress_seconds_(policies.size()) {
  for (const MeasuredPolicy& policy : policies) {
    states_.push_back(model.decoder().new_sequence(*policy.kind, capacity));
    states_.back()->rope_epoch = model.rope_epoch(capacity);
  }
}

void LockStep::read(std::span<const int64_t> tokens, const std::function<void(int64_t tokens)>& done) {
  for (size_t index = 0; index < states_.size(); ++index) {
    for (size_t first = 0; first < tokens.size(); first += kPromptPart) {
      const std::span<const int64_t> part = tokens.subspan(first, std::min<size_t>(kPromptPart, tokens.size() - first));
      const auto count = static_cast<int64_t>(part.size());
      models::Step step;
      step.sequences = {{states_[index].get(), count}};
      const auto start = std::chrono::steady_clock::now();
      model_->logits({part.begin(), part.end()}, step, {count - 1});
      read_seconds_[index] += seconds_since(start);
      done(count);
    }
  }
}

void LockStep::end_of_prompt() {
  for (size_t index = 0; index < states_.size(); ++index) {
    const auto start = std::chrono::steady_clock::now();
    states_[index]->cache->end_of_prompt();
    compress_seconds_[index] += seconds_since(start);
  }
}

LockStep LockStep::fork(int64_t capacity) const {
  LockStep copy(*model_);
  for (const auto& state : states_) copy.states_.push_back(state->fork(state->position(), capacity));
  copy.read_seconds_.resize(states_.size());
  copy.compress_seconds_.resize(states_.size());
  return copy;
}

torch::Tensor LockStep::step(const std::vector<int64_t>& tokens) {
  INCONTEXT_ASSERT(tokens.size() == states_.size());
  models::Step step;
  std::vector<int64_t> read;
  for (const auto& state : states_) {
    read.push_back(static_cast<int64_t>(read.size()));
    step.sequences.push_back({state.get(), 1});
  }
  return model_->logits(tokens, step, read);
}

torch::Tensor LockStep::step_in_turn(const std::vector<int64_t>& tokens, std::vector<double>& seconds) {
  INCONTEXT_ASSERT(tokens.size() == states_.size());
  std::vector<torch::Tensor> rows;
  seconds.clear();
  for (size_t index = 0; index < states_.size(); ++index) {
    models::Step step;
    step.sequences = {{states_[index].get(), 1}};
    const auto start = std::chrono::steady_clock::now();
    rows.push_back(model_->logits({tokens[index]}, step, {0}));
    seconds.push_back(seconds_since(start));
  }
  return torch::cat(rows);
}

}  // namespace incontext::eval

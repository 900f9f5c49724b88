#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cache/sequence_state.h"
#include "models/language_model.h"

namespace incontext::eval {

/// A cache policy that is measured, as it was asked for.
struct MeasuredPolicy {
  std::string name;
  std::shared_ptr<const cache::CacheKind> kind;
};

/// What every policy is measured against: the full cache, in f16.
MeasuredPolicy full_policy(const models::LanguageModel& model);

/// What goes through a model under several policies at once: one sequence for each, with a cache of its own.
class LockStep {
 public:
  LockStep(const models::LanguageModel& model, const std::vector<MeasuredPolicy>& policies, int64_t capacity);

  size_t size() const { return states_.size(); }
  const cache::SequenceState& state(size_t index) const { return *states_[index]; }

  /// Reads more of the prompt into each cache, one policy after the other. `done` is told the tokens of every part.
  void read(std::span<const int64_t> tokens, const std::function<void(int64_t tokens)>& done);
  /// The prompt is over: caches may compress.
  void end_of_prompt();
  /// Copies that have seen the same, with room for `capacity` tokens. They bring no times.
  LockStep fork(int64_t capacity) const;

  /// The next token of each, in one step: logits [sequences, vocabulary].
  torch::Tensor step(const std::vector<int64_t>& tokens);
  /// The same logits, with a step for each in turn; `seconds` are the times that they took.
  torch::Tensor step_in_turn(const std::vector<int64_t>& tokens, std::vector<double>& seconds);

  /// Of each policy, so far.
  const std::vector<double>& read_seconds() const { return read_seconds_; }
  const std::vector<double>& compress_seconds() const { return compress_seconds_; }

 private:
  explicit LockStep(const models::LanguageModel& model) : model_(&model) {}

  const models::LanguageModel* model_;
  std::vector<std::unique_ptr<cache::SequenceState>> states_;
  std::vector<double> read_seconds_, compress_seconds_;
};

}  // namespace incontext::eval

#pragma once

#include <string>
#include <vector>

#include "decode/opened_model.h"
#include "eval/cache/lock_step.h"
#include "eval/cache/options.h"
#include "eval/cache/results.h"
#include "eval/cache/work.h"
#include "tasks/retrieval.h"

namespace incontext::eval {

/// A retrieval prompt as tokens, in a chat where the model has a template that takes it. A caches compresses its past
/// after `context` (the question is not known), or after `question` (it is); what follows comes token by token.
struct RetrievalTokens {
  std::vector<int64_t> context, question, answer_start;

  int64_t size() const { return static_cast<int64_t>(context.size() + question.size() + answer_start.size()); }
};
RetrievalTokens encode_retrieval(const decode::OpenedModel& opened, const tasks::RetrievalPrompt& prompt);

/// The retrieval tasks under every policy, and under the full cache: what a policy loses counts only where the model
/// can do the task at all.
class Retrieval {
 public:
  Retrieval(const decode::OpenedModel& opened, const std::vector<MeasuredPolicy>& policies,
            const CacheEvaluationOptions& options);

  /// Prompts that, with their answers, are as long as the context allows. Rows are added to `results`. An Error where a
  /// task does not fit into the context.
  void measure(int64_t context, Work& work, CacheResults& results) const;
  double work_of(int64_t context) const;
  /// Whether every task fits into the context: an Error otherwise.
  void check_room(int64_t context) const;

 private:
  struct Sample;

  Sample sample(const std::string& task, int64_t index, int64_t context) const;
  std::vector<double> answer(LockStep& lock_step, std::vector<int64_t> rest, const Sample& sample, Work& work) const;

  const decode::OpenedModel& opened_;
  const CacheEvaluationOptions& options_;
  std::vector<MeasuredPolicy> sequences_;
};

}  // namespace incontext::eval

#pragma once

#include <vector>

#include "decode/opened_model.h"
#include "eval/cache/documents.h"
#include "eval/cache/lock_step.h"
#include "eval/cache/options.h"
#include "eval/cache/results.h"
#include "eval/cache/work.h"

namespace incontext::eval {

/// The documents of one context under every policy, in lock-step with the full cache (f16) on the decode path: a prompt
/// of `context` tokens is read and compressed, then come the following tokens one at a time, so that every scored
/// prediction is made from the compressed past. Distributions are compared at once, and none is kept. The first steps
/// of a document are taken by one policy after the other, and timed; which changes no bit.
/// Then each continues greedily from where the prompt ended, if `free` is measured.
/// Rows are added to `results`, in the order of the policies.
void measure_language(const decode::OpenedModel& opened, const std::vector<MeasuredPolicy>& policies,
                      const ScoredTexts& texts, const CacheEvaluationOptions& options, int64_t context, Work& work,
                      CacheResults& results);

/// What that takes.
double language_work(const CacheEvaluationOptions& options, int64_t context);

/// Tokens that go through the model after a prompt, at most.
int64_t tokens_after_prompt(const CacheEvaluationOptions& options);

/// Tokens of a document: the prompt, those that follow it, and the last one's successor.
int64_t document_tokens(const CacheEvaluationOptions& options, int64_t context);

}  // namespace incontext::eval

#pragma once

#include "decode/opened_model.h"
#include "eval/cache/options.h"
#include "eval/cache/results.h"
#include "eval/cache/work.h"

namespace incontext::eval {

/// Measures cache policies on a model. What cannot be measured (an unknown policy or measure, texts that are too short,
/// a context that the model has no room for) is an Error before anything is computed.
CacheResults measure_caches(const decode::OpenedModel& opened, const CacheEvaluationOptions& options,
                            const CacheEvaluationEvents& events);

}  // namespace incontext::eval

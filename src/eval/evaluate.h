#pragma once

#include <functional>
#include <string>

#include "base/record.h"
#include "eval/evaluation_options.h"
#include "models/runs.h"

namespace incontext::eval {

/// A trained model and what it was trained on.
struct Subject {
  std::string run;  // name in records
  const models::Decoder* decoder = nullptr;
  models::RunDescription trained;
  int64_t step = 0;
};

/// Measures a model and the classical methods on the same prompts: "squared_error" at every number of examples, over
/// the error of predicting zero, with bootstrap intervals, and for looped models "squared_error_by_loop". `write`
/// gets each record, `progress` what is going on and how far it is (0 … 1).
void evaluate(const Subject& subject, const EvaluationOptions& options, const std::function<void(base::Record)>& write,
              const std::function<void(const std::string& what, double done)>& progress);

}  // namespace incontext::eval

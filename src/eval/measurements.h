#pragma once

#include <functional>
#include <string>

#include "base/registry.h"
#include "eval/evaluate.h"

namespace incontext::eval {

/// What a measurement tells on its way.
struct MeasurementEvents {
  std::function<void(base::Record)> write;
  /// What is going on and how far it is (0 … 1).
  std::function<void(const std::string& what, double done)> progress;
  /// What the user should know, a line each.
  std::function<void(const std::string& text)> note;
};

/// How `incontext eval` measures a model that was trained for one objective.
struct Measurement {
  std::string name;  // of the objective (train::objectives())
  std::string help;
  void (*measure)(const Subject& subject, const EvaluationOptions& options, const MeasurementEvents& events) = nullptr;
};

/// The measurements by objective. A program with objectives of its own adds theirs.
base::Registry<Measurement>& measurements();

/// Measures a model as belongs to its objective.
void measure(const Subject& subject, const EvaluationOptions& options, const MeasurementEvents& events);

}  // namespace incontext::eval

#include "eval/measurements.h"

#include "eval/text_losses.h"
#include "tasks/packed_text.h"
#include "tensor/device.h"

namespace incontext::eval {
namespace {

void measure_regression(const Subject& subject, const EvaluationOptions& options, const MeasurementEvents& events) {
  evaluate(subject, options, events.write, events.progress);
}

void measure_text(const Subject& subject, const EvaluationOptions& options, const MeasurementEvents& events) {
  const tasks::PackedText text(subject.trained.task.text, &tensor::kernel_pool());
  for (const std::string& note : text.notes()) events.note(note);
  evaluate_text(subject, text, options, events.write, events.progress);
}

}  // namespace

base::Registry<Measurement>& measurements() {
  static base::Registry<Measurement> table(
      "measured objective",
      {{"regression", "squared error at every number of examples, beside classical methods", measure_regression},
       {"text", "loss, perplexity and bits per byte of held-out text", measure_text}});
  return table;
}

void measure(const Subject& subject, const EvaluationOptions& options, const MeasurementEvents& events) {
  measurements().at(subject.trained.objective, subject.run).measure(subject, options, events);
}

}  // namespace incontext::eval

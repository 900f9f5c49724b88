#include "eval/held_out.h"

#include <cmath>
#include <set>

#include "eval/model_errors.h"
#include "eval/text_losses.h"

namespace incontext::eval {
namespace {

std::string measure_text(const train::Trainer& trainer, const std::function<void(base::Record)>& write) {
  const tasks::PackedText& text = *trainer.objective().text();
  if (text.held_out_sequences() == 0) return "";
  const train::TrainingOptions& training = trainer.options().training;
  base::Record record;
  record.what = "held_out_loss";
  record.value =
      held_out_losses(trainer.model(), text, training.evaluate_prompts, training.batch_size).mean().item<double>();
  record.unit = "nats per token";
  record.setting = {{"task", trainer.options().task.name}};
  const double loss = record.value;
  write(std::move(record));
  return fmt::format("held-out loss {:.4f} (perplexity {:.4g})", loss, std::exp(loss));
}

}  // namespace

std::string measure_held_out(const train::Trainer& trainer, const std::function<void(base::Record)>& write) {
  if (trainer.objective().text() != nullptr) return measure_text(trainer, write);
  const tasks::Task& task = *trainer.objective().functions();
  const train::RunOptions& options = trainer.options();
  const int64_t points = options.training.curriculum.points.end;
  const DrawPrompts draw = [&](int64_t first, int64_t count) {
    return tasks::sample_prompts(task, {},
                                 {.seed = options.seed,
                                  .purpose = "held_out",
                                  .first_index = static_cast<uint64_t>(first),
                                  .batch = count,
                                  .points = points});
  };
  const torch::Tensor errors = model_squared_errors(trainer.model(), draw, options.training.evaluate_prompts,
                                                    options.training.batch_size, /*loops=*/0)
                                   .mean(0) /
                               task.normalisation();
  const int64_t dims = options.task.dims;
  std::string words;
  for (const int64_t examples : std::set<int64_t>{dims, 2 * dims, points - 1}) {
    if (examples >= points) continue;
    base::Record record;
    record.what = "held_out_error";
    record.value = errors[examples].item<double>();
    record.unit = "over the error of predicting zero";
    record.setting = {{"task", options.task.name}, {"examples", examples}, {"dims", dims}};
    words = fmt::format("held-out error {:.4f} at {} examples", record.value, examples);
    write(std::move(record));
  }
  return words;
}

}  // namespace incontext::eval

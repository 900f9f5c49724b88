#include "train/options.h"

#include <filesystem>

#include "models/language_folder.h"
#include "tasks/packed_text.h"

namespace incontext::train {
namespace {

std::string text_problem(const RunOptions& options) {
  const CurriculumOptions& curriculum = options.training.curriculum;
  for (const Ramp* ramp : {&curriculum.dims, &curriculum.points, &curriculum.loops}) {
    if (ramp->start != 0 || ramp->end != 0) return "training.curriculum: the task text has none";
  }
  if (options.training.loop_window != 0) return "training.loop_window: the task text has no loops";
  const std::string problem = models::family_problem("llama", options.model);
  return problem.empty() ? "" : problem + ", because a model of text is written as a Llama";
}

}  // namespace

void RunOptions::resolve() {
  std::string& weights = training.initial_weights;
  if (!weights.empty()) weights = std::filesystem::absolute(weights).lexically_normal().string();
  if (task.is_text()) {
    task.text.resolve_paths();
    if (model.vocabulary == 0) model.vocabulary = tasks::open_text_tokenizer(task.text)->vocab_size();
    model.max_positions = task.text.context;
    return;
  }
  CurriculumOptions& curriculum = training.curriculum;
  if (curriculum.dims.end == 0) curriculum.dims.end = task.dims;
  if (curriculum.points.end == 0) curriculum.points.end = 2 * task.dims + 1;
  if (curriculum.loops.end == 0) curriculum.loops.end = model.loop.count;
  if (training.loop_window == 0) training.loop_window = model.loop.count;
}

std::string RunOptions::validate() const {
  if (task.is_text()) return text_problem(*this);
  if (model.vocabulary != 0) return fmt::format("model.vocabulary: the task {} has no tokens, expected 0", task.name);
  RunOptions resolved = *this;
  resolved.resolve();
  const CurriculumOptions& curriculum = resolved.training.curriculum;
  if (curriculum.dims.end > task.dims) {
    return fmt::format("training.curriculum.dims.end {} is beyond task.dims {}", curriculum.dims.end, task.dims);
  }
  if (model.position == "learned" && 2 * curriculum.points.end > model.max_positions) {
    return fmt::format("prompts of {} points are {} tokens, but model.max_positions is {}", curriculum.points.end,
                       2 * curriculum.points.end, model.max_positions);
  }
  if (curriculum.loops.end > model.loop.count) {
    return fmt::format("training.curriculum.loops.end {} is beyond model.loop.count {}", curriculum.loops.end,
                       model.loop.count);
  }
  if (training.loop_window > 0 && !model.looped()) return "training.loop_window is set, but the model is not looped";
  for (const Ramp* ramp : {&curriculum.dims, &curriculum.points, &curriculum.loops}) {
    if (ramp->start > ramp->end) {
      return fmt::format("a curriculum starts at {}, beyond its end {}", ramp->start, ramp->end);
    }
  }
  return "";
}

}  // namespace incontext::train

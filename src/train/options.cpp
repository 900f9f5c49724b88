#include "train/options.h"

namespace incontext::train {

void RunOptions::resolve() {
  CurriculumOptions& curriculum = training.curriculum;
  if (curriculum.dims.end == 0) curriculum.dims.end = task.dims;
  if (curriculum.points.end == 0) curriculum.points.end = 2 * task.dims + 1;
  if (curriculum.loops.end == 0) curriculum.loops.end = model.loop.count;
  if (training.loop_window == 0) training.loop_window = model.loop.count;
}

std::string RunOptions::validate() const {
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

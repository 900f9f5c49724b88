#include "train/objectives/regression.h"

#include <algorithm>
#include <set>

#include "models/model_errors.h"
#include "tensor/device.h"

namespace incontext::train {
namespace {

class Regression : public Objective {
 public:
  explicit Regression(const ObjectiveBuild& build)
      : Objective(build),
        task_(tasks::make_task(build.options.task)),
        decoder_(add_decoder("", {build.options.model, build.options.task.dims, build.options.seed, build.device})) {}

  Samples sample(uint64_t first, int64_t count, const Stage& stage) const override {
    const tasks::Batch batch = task_->sample(training_prompts(options(), first, count, stage), &tensor::kernel_pool());
    return {{"xs", batch.xs}, {"ys", batch.ys}};
  }

  Losses losses(const Samples& samples, const Stage& stage) const override {
    const torch::Tensor loss = squared_error_objective(decoder_, {.xs = samples.at("xs"), .ys = samples.at("ys")},
                                                       loop_range(stage.loops, options().training.loop_window));
    return {{.name = "squared_error", .value = loss}};
  }

  // At task.dims and 2 * task.dims examples and the last point, over the error of predicting zero.
  std::string evaluate(const std::function<void(base::Record)>& write) const override {
    const TrainingOptions& training = options().training;
    const int64_t points = training.curriculum.points.end;
    const models::DrawPrompts draw = [&](int64_t first, int64_t count) {
      return tasks::sample_prompts(*task_, {},
                                   {.seed = options().seed,
                                    .purpose = "held_out",
                                    .first_index = static_cast<uint64_t>(first),
                                    .batch = count,
                                    .points = points});
    };
    const torch::Tensor errors =
        models::model_squared_errors(decoder_, draw, training.evaluate_prompts, training.batch_size, /*loops=*/0)
            .mean(0) /
        task_->normalisation();
    const int64_t dims = options().task.dims;
    std::string words;
    for (const int64_t examples : std::set<int64_t>{dims, 2 * dims, points - 1}) {
      if (examples >= points) continue;
      base::Record record;
      record.what = "held_out_error";
      record.value = errors[examples].item<double>();
      record.unit = "over the error of predicting zero";
      record.setting = {{"task", base::name_of(options().task.name)}, {"examples", examples}, {"dims", dims}};
      words = fmt::format("held-out error {:.4f} at {} examples", record.value, examples);
      write(std::move(record));
    }
    return words;
  }

 private:
  std::unique_ptr<tasks::Task> task_;
  models::Decoder& decoder_;
};

std::unique_ptr<Objective> make_regression(const ObjectiveBuild& build) { return std::make_unique<Regression>(build); }

}  // namespace

void resolve_regression(RunOptions& options) {
  CurriculumOptions& curriculum = options.training.curriculum;
  if (curriculum.dims.end == 0) curriculum.dims.end = options.task.dims;
  if (curriculum.points.end == 0) curriculum.points.end = 2 * options.task.dims + 1;
  if (curriculum.loops.end == 0) curriculum.loops.end = options.model.loop.count;
  if (options.training.loop_window == 0) options.training.loop_window = options.model.loop.count;
}

std::string regression_problem(const RunOptions& options) {
  const models::DecoderOptions& model = options.model;
  const tasks::TaskOptions& task = options.task;
  if (task.is_text()) return "objective: expected text for the task text, got " + options.objective.name;
  if (model.tokens.vocabulary != 0)
    return fmt::format("model.tokens.vocabulary: the task {} has no tokens, expected 0", base::name_of(task.name));
  RunOptions resolved = options;
  resolve_regression(resolved);
  const CurriculumOptions& curriculum = resolved.training.curriculum;
  if (curriculum.dims.end > task.dims) {
    return fmt::format("training.curriculum.dims.end {} is beyond task.dims {}", curriculum.dims.end, task.dims);
  }
  if (model.position == models::PositionType::learned && 2 * curriculum.points.end > model.max_positions) {
    return fmt::format("prompts of {} points are {} tokens, but model.max_positions is {}", curriculum.points.end,
                       2 * curriculum.points.end, model.max_positions);
  }
  if (curriculum.loops.end > model.loop.count) {
    return fmt::format("training.curriculum.loops.end {} is beyond model.loop.count {}", curriculum.loops.end,
                       model.loop.count);
  }
  if (options.training.loop_window > 0 && !model.looped()) {
    return "training.loop_window is set, but the model is not looped";
  }
  for (const Ramp* ramp : {&curriculum.dims, &curriculum.points, &curriculum.loops}) {
    if (ramp->start > ramp->end) {
      return fmt::format("a curriculum starts at {}, beyond its end {}", ramp->start, ramp->end);
    }
  }
  return "";
}

ObjectiveKind regression_objective() {
  return {.name = "regression",
          .help = "the squared error at every example of prompts from a function class",
          .make = make_regression,
          .resolve = resolve_regression,
          .problem = regression_problem};
}

tasks::Draw training_prompts(const RunOptions& options, uint64_t first, int64_t count, const Stage& stage) {
  return {.seed = options.seed,
          .purpose = "train",
          .first_index = first,
          .batch = count,
          .points = stage.points,
          .active_dims = stage.dims};
}

models::LoopRange loop_range(int64_t budget, int64_t window) {
  return {.count = budget, .read_from = std::max<int64_t>(0, budget - window), .truncate = true};
}

torch::Tensor squared_error_objective(const models::Decoder& decoder, const tasks::Batch& batch,
                                      const models::LoopRange& loops) {
  if (batch.xs.is_cuda()) return (models::predict_reads(decoder, batch.xs, batch.ys, loops) - batch.ys).square().mean();
  torch::Tensor total;
  int64_t reads = 0;
  models::predict(decoder, batch.xs, batch.ys, loops, [&](int64_t, const torch::Tensor& prediction) {
    const torch::Tensor error = (prediction - batch.ys).square().mean();
    total = total.defined() ? total + error : error;
    ++reads;
  });
  return total / static_cast<double>(reads);
}

}  // namespace incontext::train

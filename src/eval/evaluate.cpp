#include "eval/evaluate.h"

#include <algorithm>

#include "base/error.h"
#include "eval/baselines/bootstrap.h"
#include "eval/baselines/predictor.h"
#include "models/model_errors.h"
#include "tasks/task.h"
#include "tensor/device.h"

namespace incontext::eval {
namespace {

using base::Json;
using tasks::PromptKind;
using torch::Tensor;

class Evaluation {
 public:
  Evaluation(const Subject& subject, const EvaluationOptions& options, std::function<void(base::Record)> write,
             std::function<void(const std::string&, double)> progress)
      : subject_(subject),
        options_(options),
        write_(std::move(write)),
        progress_(std::move(progress)),
        task_(tasks::make_task(subject.trained.task)) {
    if (options_.points == 0) options_.points = subject.trained.points;
  }

  void run() {
    for (const PromptKind kind : options_.kinds) {
      measure_model(kind);
      measure_baselines(kind);
    }
    if (subject_.decoder->options().looped() && options_.by_loop != 0) measure_by_loop();
  }

 private:
  int64_t active_dims() const { return options_.active_dims == 0 ? task_->options().dims : options_.active_dims; }

  int64_t points_for(PromptKind kind) const {
    return kind == PromptKind::orthogonal_query ? std::min(options_.points, active_dims()) : options_.points;
  }

  models::DrawPrompts draw(PromptKind kind) const {
    return [this, kind](int64_t first, int64_t count) {
      return tasks::sample_prompts(*task_, {.kind = kind, .factor = options_.factor, .noise = options_.noise},
                                   {.seed = options_.seed,
                                    .purpose = "eval",
                                    .first_index = static_cast<uint64_t>(first),
                                    .batch = count,
                                    .points = points_for(kind),
                                    .active_dims = options_.active_dims},
                                   &tensor::kernel_pool());
    };
  }

  Json setting(PromptKind kind, const std::string& predictor) const {
    Json json = {{"run", subject_.run},           {"task", base::name_of(task_->options().name)},
                 {"prompt", base::name_of(kind)}, {"predictor", predictor},
                 {"dims", task_->options().dims}, {"step", subject_.step},
                 {"seed", subject_.trained.seed}};
    if (active_dims() != task_->options().dims) json["active_dims"] = active_dims();
    if (predictor == "model") {
      json["parameters"] = subject_.decoder->parameter_count();
      if (subject_.decoder->options().looped()) json["trained_loops"] = subject_.decoder->options().loop.count;
    }
    return json;
  }

  void write_columns(const char* what, const Json& setting, const char* key, const std::vector<int64_t>& values,
                     const Tensor& squared_errors) {
    const Tensor normalised = squared_errors.to(torch::kFloat64) / task_->normalisation(active_dims());
    const std::vector<Interval> intervals = bootstrap_columns(normalised, options_.bootstrap);
    for (size_t i = 0; i < values.size(); ++i) {
      base::Record record;
      record.what = what;
      record.value = intervals[i].mean;
      record.low = intervals[i].low;
      record.high = intervals[i].high;
      record.has_interval = true;
      record.unit = "over the error of predicting zero";
      record.setting = setting;
      record.setting[key] = values[i];
      record.setting["prompts"] = squared_errors.size(0);
      write_(std::move(record));
    }
  }

  static std::vector<int64_t> counting(int64_t first, int64_t count) {
    std::vector<int64_t> values;
    for (int64_t i = 0; i < count; ++i) values.push_back(first + i);
    return values;
  }

  std::function<void(int64_t)> report(const std::string& what) {
    return [this, what](int64_t done) {
      progress_(what, static_cast<double>(done) / static_cast<double>(options_.prompts));
    };
  }

  void measure_model(PromptKind kind) {
    const bool looped = subject_.decoder->options().looped();
    std::vector<int64_t> loop_counts = {0};
    if (looped)
      loop_counts = options_.loops.empty() ? std::vector{subject_.decoder->options().loop.count} : options_.loops;
    base::check(looped || options_.loops.empty(), "{}: loops were asked for, but the model is not looped",
                subject_.run);
    for (const int64_t loops : loop_counts) {
      const Tensor errors =
          models::model_squared_errors(*subject_.decoder, draw(kind), options_.prompts, options_.batch, loops,
                                       report(std::string("model, ") + base::name_of(kind)));
      Json json = setting(kind, "model");
      if (looped) json["loops"] = loops;
      write_columns("squared_error", json, "examples", counting(0, errors.size(1)), errors);
    }
  }

  void measure_baselines(PromptKind kind) {
    if (options_.baselines.predictors.empty()) return;
    progress_(std::string("baselines, ") + base::name_of(kind), 0);
    const tasks::Prompts prompts = draw(kind)(0, options_.prompts);
    for (const BaselineErrors& errors : run_baselines(options_.baselines, prompts, tensor::kernel_pool())) {
      write_columns("squared_error", setting(kind, errors.label), "examples", errors.examples, errors.squared_errors);
    }
    progress_(std::string("baselines, ") + base::name_of(kind), 1);
  }

  void measure_by_loop() {
    const int64_t trained = subject_.decoder->options().loop.count;
    const int64_t loops = options_.by_loop < 0 ? 10 * trained : options_.by_loop;
    const int64_t examples = std::min(2 * active_dims(), options_.points - 1);
    const Tensor errors =
        models::squared_errors_by_loop(*subject_.decoder, draw(PromptKind::standard), options_.prompts, options_.batch,
                                       loops, examples, report("every loop"));
    Json json = setting(PromptKind::standard, "model");
    json["examples"] = examples;
    write_columns("squared_error_by_loop", json, "loops", counting(1, loops), errors);
  }

  const Subject& subject_;
  EvaluationOptions options_;
  std::function<void(base::Record)> write_;
  std::function<void(const std::string&, double)> progress_;
  std::unique_ptr<tasks::Task> task_;
};

}  // namespace

void evaluate(const Subject& subject, const EvaluationOptions& options, const std::function<void(base::Record)>& write,
              const std::function<void(const std::string&, double)>& progress) {
  const int64_t dims = subject.decoder->input_dims();
  base::check(dims == subject.trained.task.dims, "{}: the model takes {} dimensions, the task has {}", subject.run,
              dims, subject.trained.task.dims);
  Evaluation(subject, options, write, progress).run();
}

}  // namespace incontext::eval

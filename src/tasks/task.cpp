#include "tasks/task.h"

#include <cmath>

#include "base/error.h"

namespace incontext::tasks {
namespace {

Gaussian make_inputs(const TaskOptions& options) {
  if (options.condition_number == 1) return Gaussian(options.dims, options.input_scale);
  base::RandomStream stream(options.rotation_seed, "covariance", 0);
  const std::vector<double> basis = random_orthonormal(stream, options.dims, options.dims);
  std::vector<double> eigenvalues(static_cast<size_t>(options.dims), options.input_scale * options.input_scale);
  for (size_t k = 1; k < eigenvalues.size(); ++k) {
    eigenvalues[k] *=
        std::pow(options.condition_number, -static_cast<double>(k) / static_cast<double>(options.dims - 1));
  }
  return Gaussian(options.dims, eigenvalues, basis);
}

std::span<float> row(float* data, int64_t index, int64_t length) {
  return {data + index * length, static_cast<size_t>(length)};
}

}  // namespace

std::string TaskOptions::validate() const {
  if (name == TaskName::sparse_linear_regression && nonzeros > dims) {
    return fmt::format("nonzeros: expected at most dims = {}, got {}", dims, nonzeros);
  }
  if (condition_number != 1 && dims == 1) {
    return fmt::format("condition_number: expected 1 with a single dimension, got {}", condition_number);
  }
  if (is_text() && text.files.empty()) return "text: expected files to learn from (task.text.files)";
  if (!is_text() && !text.files.empty())
    return fmt::format("text.files: the task is {}, expected text", base::name_of(name));
  return "";
}

PromptStreams::PromptStreams(const Draw& draw, uint64_t index)
    : function(draw.seed, draw.purpose + "/function", index),
      inputs(draw.seed, draw.purpose + "/inputs", index),
      labels(draw.seed, draw.purpose + "/labels", index),
      shift(draw.seed, draw.purpose + "/shift", index) {}

Task::Task(const TaskOptions& options)
    : options_(options), functions_(make_function_class(options)), inputs_(make_inputs(options)) {}

Draw Task::checked(Draw draw) const {
  base::check(draw.batch >= 0 && draw.points >= 0, "[task] expected batch and points of at least 0, got {} and {}",
              draw.batch, draw.points);
  if (draw.active_dims == 0) draw.active_dims = options_.dims;
  base::check(draw.active_dims >= 1 && draw.active_dims <= options_.dims,
              "[task] expected active_dims from 1 to dims = {}, got {}", options_.dims, draw.active_dims);
  return draw;
}

Batch Task::sample(const Draw& request, base::ThreadPool* pool) const {
  const Draw draw = checked(request);
  Batch batch{torch::empty({draw.batch, draw.points, options_.dims}), torch::empty({draw.batch, draw.points})};
  auto* const xs = batch.xs.data_ptr<float>();
  auto* const ys = batch.ys.data_ptr<float>();
  const auto one_prompt = [&](int64_t i, int) {
    PromptStreams streams(draw, draw.first_index + static_cast<uint64_t>(i));
    std::vector<float> parameters(static_cast<size_t>(functions_->parameter_count()));
    functions_->draw(streams.function, draw.active_dims, parameters);
    const std::span<float> x = row(xs, i, draw.points * options_.dims);
    const std::span<float> y = row(ys, i, draw.points);
    inputs_.draw(streams.inputs, draw.active_dims, x);
    functions_->evaluate(parameters, x, y);
    add_noise(streams.labels, draw.active_dims, y);
  };
  if (pool != nullptr) {
    pool->run(draw.batch, one_prompt);
  } else {
    for (int64_t i = 0; i < draw.batch; ++i) one_prompt(i, 0);
  }
  return batch;
}

torch::Tensor Task::sample_functions(const Draw& request) const {
  const Draw draw = checked(request);
  const int64_t count = functions_->parameter_count();
  torch::Tensor parameters = torch::empty({draw.batch, count});
  for (int64_t i = 0; i < draw.batch; ++i) {
    PromptStreams streams(draw, draw.first_index + static_cast<uint64_t>(i));
    functions_->draw(streams.function, draw.active_dims, row(parameters.data_ptr<float>(), i, count));
  }
  return parameters;
}

void Task::add_noise(base::RandomStream& labels, int64_t active_dims, std::span<float> ys) const {
  if (options_.name != TaskName::noisy_linear_regression || options_.noise == 0) return;
  std::vector<float> noise(ys.size());
  labels.fill_normal(noise);
  // The reference divides by the standard deviation measured over the batch; ours is the exact one, so that a
  // prompt does not depend on its batch.
  const double variance = normalisation(active_dims);
  const double factor = options_.renormalise ? std::sqrt(variance / (variance + options_.noise * options_.noise)) : 1.0;
  for (size_t i = 0; i < ys.size(); ++i) {
    ys[i] = static_cast<float>(factor * (ys[i] + options_.noise * noise[i]));
  }
}

double Task::normalisation(int64_t active_dims) const {
  const int64_t active = active_dims == 0 ? options_.dims : active_dims;
  std::vector<double> variances;
  for (int64_t i = 0; i < active; ++i) variances.push_back(inputs_.variance(i));
  return functions_->second_moment(variances);
}

std::unique_ptr<Task> make_task(const TaskOptions& options) {
  const std::string problem = options.validate();
  base::check(problem.empty(), "[task] {}", problem);
  return std::make_unique<Task>(options);
}

}  // namespace incontext::tasks

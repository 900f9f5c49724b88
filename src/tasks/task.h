#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/threads.h"
#include "tasks/function_class.h"
#include "tasks/gaussian.h"
#include "tasks/task_options.h"
#include "tensor/torch.h"

namespace incontext::tasks {

struct Batch {
  torch::Tensor xs;  // [batch, points, dims] f32, on the CPU
  torch::Tensor ys;  // [batch, points] f32
};

/// Which prompts to draw. Prompt number k is a pure function of (task, seed, purpose, k) and of active_dims: it
/// depends neither on the batch it is drawn in nor on threads, and with fewer points it is the beginning of itself.
struct Draw {
  uint64_t seed = 0;
  std::string purpose = "train";  // prompts of different purposes are independent
  uint64_t first_index = 0;       // the batch holds prompts first_index … first_index + batch - 1
  int64_t batch = 1;
  int64_t points = 1;
  int64_t active_dims = 0;  // coordinates from here on are zero in every x (a curriculum); 0: none
};

/// The random streams behind one prompt, one per kind of draw, so that each may grow without moving the others:
/// <purpose>/function, <purpose>/inputs (x_1, x_2, … in order), <purpose>/labels (noise of y_1, y_2, …) and
/// <purpose>/shift (what a shifted prompt adds, see shifted_prompts.h).
struct PromptStreams {
  base::RandomStream function, inputs, labels, shift;
  PromptStreams(const Draw& draw, uint64_t index);
};

/// A distribution over prompts. Immutable, so one Task may serve many threads.
class Task {
 public:
  explicit Task(const TaskOptions& options);

  const TaskOptions& options() const { return options_; }
  const FunctionClass& functions() const { return *functions_; }
  const Gaussian& inputs() const { return inputs_; }

  /// Draws prompts; with a pool, in parallel.
  Batch sample(const Draw& draw, base::ThreadPool* pool = nullptr) const;

  /// Parameters of the functions behind sample(draw), [batch, functions().parameter_count()].
  torch::Tensor sample_functions(const Draw& draw) const;

  /// Adds the label noise of this task (nothing but for noisy_linear_regression).
  void add_noise(base::RandomStream& labels, int64_t active_dims, std::span<float> ys) const;

  /// E f(x)² without label noise; 0 active_dims means all. Squared errors divided by it are 1 for predicting zero:
  /// dims for isotropic linear, noisy and quadratic regression and ReLU networks, nonzeros for sparse regression, 1
  /// for trees, as in the plots of Garg et al. (2022) and of Yang et al., "Looped Transformers" (2024).
  double normalisation(int64_t active_dims = 0) const;

  /// `draw` with its defaults resolved; an Error says what does not fit this task.
  Draw checked(Draw draw) const;

 private:
  TaskOptions options_;
  std::unique_ptr<FunctionClass> functions_;
  Gaussian inputs_;
};

/// The task that the options describe; options that contradict each other are an Error.
std::unique_ptr<Task> make_task(const TaskOptions& options);

}  // namespace incontext::tasks

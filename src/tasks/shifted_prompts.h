#pragma once

#include "tasks/prompt_options.h"
#include "tasks/task.h"
#include "tensor/torch.h"

namespace incontext::tasks {

/// One question per position: after the examples (xs[0], ys[0]) … (xs[i-1], ys[i-1]), what is f(query_xs[i])? The
/// answer is query_ys[i].
///
/// Where the questions are the prompt's own inputs (query_in_sequence), a causal model answers them all in one pass
/// over xs and ys: its prediction at x_i sees y_0 … y_{i-1} only. (That pass never compares with ys: query_ys may be
/// cleaner.) Elsewhere position i needs its own sequence, with_query(prompts, i).
struct Prompts {
  torch::Tensor xs;        // [batch, points, dims] f32, in context
  torch::Tensor ys;        // [batch, points] f32, in context
  torch::Tensor query_xs;  // [batch, points, dims] f32; the same tensor as xs when query_in_sequence
  torch::Tensor query_ys;  // [batch, points] f32
  bool query_in_sequence = true;
};

/// kind                 in context                                  question at position i
/// standard             the task's own                              x_i
/// scaled_inputs        factor * x                                  x_i
/// skewed_covariance    covariance eigenvalues ~ 1/k², random       x_i
///                      eigenbasis, trace active_dims
/// half_subspace        covariance a random projector on            x_i
///                      active_dims/2 dimensions, trace active_dims
/// label_noise          y + noise                                   x_i, clean label
/// random_orthant       x flipped into one random orthant           as the task draws it: any orthant
/// opposite_orthant     x flipped into one random orthant           -x_i
/// orthogonal_query     the task's own; points <= active_dims       x_i without its part in the span of
///                                                                  x_0 … x_{i-1}, at its old length
/// overlapping_query    the task's own                              one of x_0 … x_{i-1}; x_0 at i = 0
/// Eigenbases and subspaces are drawn anew for each prompt (the reference draws one per evaluation) and span active
/// coordinates; times input_scale. Labels of noisy_linear_regression are noisy in context; questions never are.
Prompts sample_prompts(const Task& task, const PromptOptions& options, const Draw& draw,
                       base::ThreadPool* pool = nullptr);

/// The sequence that asks the question of `position`: the first `position` examples, then the query and its answer.
/// [batch, position + 1, …]
Batch with_query(const Prompts& prompts, int64_t position);

}  // namespace incontext::tasks

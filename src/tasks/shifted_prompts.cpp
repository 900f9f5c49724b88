#include "tasks/shifted_prompts.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace incontext::tasks {
namespace {

/// One prompt being made; every Shift edits it after the task has drawn xs and before labels are computed.
struct Slot {
  std::span<float> xs;     // [points, dims]
  std::span<float> query;  // [points, dims]; the same memory as xs when the questions are the inputs
  int64_t dims, active, points;
  double input_scale;
};

using Shift = void (*)(const PromptOptions& options, PromptStreams& streams, Slot& slot);

void keep(const PromptOptions&, PromptStreams&, Slot&) {}

void scale(const PromptOptions& options, PromptStreams&, Slot& slot) {
  for (float& x : slot.xs) x = static_cast<float>(options.factor * x);
}

/// Draws the inputs from a Gaussian with these covariance eigenvalues, scaled to trace active * input_scale².
void draw_with(std::vector<double> eigenvalues, PromptStreams& streams, Slot& slot) {
  double trace = 0;
  for (const double value : eigenvalues) trace += value;
  const double factor = static_cast<double>(slot.active) * slot.input_scale * slot.input_scale / trace;
  for (double& value : eigenvalues) value *= factor;
  const auto rank = static_cast<int64_t>(eigenvalues.size());
  const std::vector<double> active_basis = random_orthonormal(streams.shift, rank, slot.active);
  std::vector<double> basis(static_cast<size_t>(rank * slot.dims));
  for (int64_t k = 0; k < rank; ++k) {
    std::copy_n(active_basis.begin() + k * slot.active, slot.active, basis.begin() + k * slot.dims);
  }
  Gaussian(slot.dims, eigenvalues, basis).draw(streams.inputs, slot.active, slot.xs);
}

void skew(const PromptOptions&, PromptStreams& streams, Slot& slot) {
  std::vector<double> eigenvalues;
  for (int64_t k = 1; k <= slot.active; ++k) eigenvalues.push_back(1.0 / static_cast<double>(k * k));
  draw_with(std::move(eigenvalues), streams, slot);
}

void halve(const PromptOptions&, PromptStreams& streams, Slot& slot) {
  draw_with(std::vector<double>(static_cast<size_t>(std::max<int64_t>(slot.active / 2, 1)), 1.0), streams, slot);
}

/// Gives every row of xs the signs of one random orthant.
void flip_into_one_orthant(PromptStreams& streams, Slot& slot) {
  std::vector<float> signs(static_cast<size_t>(slot.dims));
  for (float& sign : signs) sign = streams.shift.below(2) == 0 ? -1.0F : 1.0F;
  for (size_t i = 0; i < slot.xs.size(); ++i) slot.xs[i] = std::copysign(slot.xs[i], signs[i % signs.size()]);
}

void random_orthant(const PromptOptions&, PromptStreams& streams, Slot& slot) {
  std::copy(slot.xs.begin(), slot.xs.end(), slot.query.begin());
  flip_into_one_orthant(streams, slot);
}

void opposite_orthant(const PromptOptions&, PromptStreams& streams, Slot& slot) {
  flip_into_one_orthant(streams, slot);
  std::transform(slot.xs.begin(), slot.xs.end(), slot.query.begin(), [](float x) { return -x; });
}

void orthogonal_query(const PromptOptions&, PromptStreams&, Slot& slot) {
  const auto width = static_cast<size_t>(slot.dims);
  std::vector<double> basis;  // orthonormal, spans the rows so far
  basis.reserve(slot.xs.size());
  std::vector<double> rest(width);
  for (int64_t i = 0; i < slot.points; ++i) {
    const std::span<const float> x = slot.xs.subspan(static_cast<size_t>(i) * width, width);
    std::copy(x.begin(), x.end(), rest.begin());
    const auto length = [&] {
      double sum = 0;
      for (const double value : rest) sum += value * value;
      return std::sqrt(sum);
    };
    const double before = length();
    remove_components(basis, i, rest);
    remove_components(basis, i, rest);
    const double after = length();
    for (size_t j = 0; j < width; ++j) {
      slot.query[static_cast<size_t>(i) * width + j] = static_cast<float>(rest[j] * before / after);
      basis.push_back(rest[j] / after);
    }
  }
}

void overlapping_query(const PromptOptions&, PromptStreams& streams, Slot& slot) {
  for (int64_t i = 0; i < slot.points; ++i) {
    const auto source = i == 0 ? 0 : static_cast<int64_t>(streams.shift.below(static_cast<uint64_t>(i)));
    std::copy_n(slot.xs.begin() + source * slot.dims, slot.dims, slot.query.begin() + i * slot.dims);
  }
}

struct Kind {
  Shift shift;
  bool query_in_sequence;
};

Kind parts_of(PromptKind kind) {
  switch (kind) {
    case PromptKind::standard:
    case PromptKind::label_noise:  // added to the labels
      break;
    case PromptKind::scaled_inputs:
      return {scale, true};
    case PromptKind::skewed_covariance:
      return {skew, true};
    case PromptKind::half_subspace:
      return {halve, true};
    case PromptKind::random_orthant:
      return {random_orthant, false};
    case PromptKind::opposite_orthant:
      return {opposite_orthant, false};
    case PromptKind::orthogonal_query:
      return {orthogonal_query, false};
    case PromptKind::overlapping_query:
      return {overlapping_query, false};
  }
  return {keep, true};
}

void add_label_noise(double noise, base::RandomStream& stream, std::span<float> ys) {
  std::vector<float> draws(ys.size());
  stream.fill_normal(draws);
  for (size_t i = 0; i < ys.size(); ++i) ys[i] = static_cast<float>(ys[i] + noise * draws[i]);
}

std::span<float> row(const torch::Tensor& tensor, int64_t index) {
  const int64_t length = tensor.numel() / std::max<int64_t>(tensor.size(0), 1);
  return {tensor.data_ptr<float>() + index * length, static_cast<size_t>(length)};
}

}  // namespace

Prompts sample_prompts(const Task& task, const PromptOptions& options, const Draw& request, base::ThreadPool* pool) {
  const Kind kind = parts_of(options.kind);
  const Draw draw = task.checked(request);
  base::check(options.kind != PromptKind::orthogonal_query || draw.points <= draw.active_dims,
              "[prompts] orthogonal_query: expected at most as many points as active dims = {}, got {}",
              draw.active_dims, draw.points);
  const int64_t dims = task.options().dims;
  Prompts prompts;
  prompts.xs = torch::empty({draw.batch, draw.points, dims});
  prompts.ys = torch::empty({draw.batch, draw.points});
  prompts.query_in_sequence = kind.query_in_sequence;
  prompts.query_xs = kind.query_in_sequence ? prompts.xs : torch::empty_like(prompts.xs);
  prompts.query_ys = torch::empty_like(prompts.ys);
  const auto one_prompt = [&](int64_t i, int) {
    PromptStreams streams(draw, draw.first_index + static_cast<uint64_t>(i));
    std::vector<float> parameters(static_cast<size_t>(task.functions().parameter_count()));
    task.functions().draw(streams.function, draw.active_dims, parameters);
    Slot slot{row(prompts.xs, i), row(prompts.query_xs, i),  dims, draw.active_dims,
              draw.points,        task.options().input_scale};
    const base::RandomStream start = streams.inputs;
    task.inputs().draw(streams.inputs, draw.active_dims, slot.xs);
    streams.inputs = start;  // a shift that replaces the inputs draws them from the same numbers
    kind.shift(options, streams, slot);
    task.functions().evaluate(parameters, slot.xs, row(prompts.ys, i));
    task.functions().evaluate(parameters, slot.query, row(prompts.query_ys, i));
    task.add_noise(streams.labels, draw.active_dims, row(prompts.ys, i));
    if (options.kind == PromptKind::label_noise) add_label_noise(options.noise, streams.shift, row(prompts.ys, i));
  };
  if (pool != nullptr) {
    pool->run(draw.batch, one_prompt);
  } else {
    for (int64_t i = 0; i < draw.batch; ++i) one_prompt(i, 0);
  }
  return prompts;
}

Batch with_query(const Prompts& prompts, int64_t position) {
  base::check(position >= 0 && position < prompts.xs.size(1), "[prompts] expected a position from 0 to {}, got {}",
              prompts.xs.size(1) - 1, position);
  return {torch::cat({prompts.xs.narrow(1, 0, position), prompts.query_xs.narrow(1, position, 1)}, 1),
          torch::cat({prompts.ys.narrow(1, 0, position), prompts.query_ys.narrow(1, position, 1)}, 1)};
}

}  // namespace incontext::tasks

#include "models/model_errors.h"

#include <algorithm>

#include "base/error.h"
#include "models/prompt_model.h"

namespace incontext::models {
namespace {

using torch::Tensor;

// Collects [batch, columns] pieces into [prompts, columns].
template <class Piece>
Tensor collect(int64_t prompts, int64_t batch, const std::function<void(int64_t)>& done, const Piece& piece) {
  std::vector<Tensor> pieces;
  for (int64_t first = 0; first < prompts; first += batch) {
    const int64_t count = std::min(batch, prompts - first);
    pieces.push_back(piece(first, count));
    if (done) done(first + count);
  }
  return torch::cat(pieces, 0);
}

}  // namespace

Tensor model_predictions(const Decoder& decoder, const tasks::Prompts& prompts, int64_t loops) {
  const auto answer = [&](const Tensor& xs, const Tensor& ys) {
    return predict_once(decoder, xs.to(decoder.device()), ys.to(decoder.device()), loops).cpu();
  };
  if (prompts.query_in_sequence) return answer(prompts.xs, prompts.ys);
  std::vector<Tensor> columns;
  for (int64_t position = 0; position < prompts.xs.size(1); ++position) {
    const tasks::Batch sequence = tasks::with_query(prompts, position);
    columns.push_back(answer(sequence.xs, sequence.ys).select(1, position));
  }
  return torch::stack(columns, 1);
}

Tensor model_squared_errors(const Decoder& decoder, const DrawPrompts& draw, int64_t prompts, int64_t batch,
                            int64_t loops, const std::function<void(int64_t)>& done) {
  return collect(prompts, batch, done, [&](int64_t first, int64_t count) {
    const tasks::Prompts drawn = draw(first, count);
    return (model_predictions(decoder, drawn, loops) - drawn.query_ys).square();
  });
}

Tensor squared_errors_by_loop(const Decoder& decoder, const DrawPrompts& draw, int64_t prompts, int64_t batch,
                              int64_t loops, int64_t examples, const std::function<void(int64_t)>& done) {
  base::check(decoder.options().looped(), "[squared_errors_by_loop] the model is not looped");
  return collect(prompts, batch, done, [&](int64_t first, int64_t count) {
    const tasks::Prompts drawn = draw(first, count);
    base::check(drawn.query_in_sequence && examples < drawn.xs.size(1),
                "[squared_errors_by_loop] expected standard prompts of more than {} points, got {}", examples,
                drawn.xs.size(1));
    torch::NoGradGuard no_gradients;
    const Tensor truth = drawn.query_ys.select(1, examples);
    std::vector<Tensor> columns;
    // Examples after the one that is read cannot matter to a causal model.
    predict(decoder, drawn.xs.narrow(1, 0, examples + 1).to(decoder.device()),
            drawn.ys.narrow(1, 0, examples + 1).to(decoder.device()), {.count = loops},
            [&](int64_t, const Tensor& prediction) {
              columns.push_back((prediction.select(1, examples).cpu() - truth).square());
            });
    return torch::stack(columns, 1);
  });
}

}  // namespace incontext::models

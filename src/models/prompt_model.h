#pragma once

#include <functional>

#include "models/decoder.h"
#include "tensor/torch.h"

namespace incontext::models {

/// The tokens of a regression prompt (Garg et al. 2022): x_1, y_1, x_2, y_2, …, each y in coordinate 0 of a zero
/// vector. xs [batch, points, dims], ys [batch, points] -> [batch, 2 * points, dims].
torch::Tensor interleave(const torch::Tensor& xs, const torch::Tensor& ys);

/// Which loops of a looped model to run and to read.
struct LoopRange {
  int64_t count = 0;      // loops in all
  int64_t read_from = 0;  // predictions are made after loops read_from+1 … count
  bool truncate = false;  // the loops before read_from run without gradient
};

/// Called with the prediction [batch, points] of y_i from the first i examples and x_i, after loop `loop` (1-based);
/// a model that is not looped calls once with loop 0.
using OnPrediction = std::function<void(int64_t loop, const torch::Tensor& prediction)>;

/// Runs the model over interleaved prompts and reads it at every x token. `loops` is ignored unless the model is
/// looped. The hook of `step` sees every loop's layers.
void predict(const Decoder& decoder, const torch::Tensor& xs, const torch::Tensor& ys, const LoopRange& loops,
             const OnPrediction& on_prediction, Step step = {});

/// All that predict() would hand over, [reads, batch, points]: with one read-out for all loops together, which a GPU,
/// to which a small product costs as much as a large one, does sooner. The last layer spares no tokens here.
torch::Tensor predict_reads(const Decoder& decoder, const torch::Tensor& xs, const torch::Tensor& ys,
                            const LoopRange& loops);

/// The prediction after the last of `loops` loops (0: the model's own count), without gradients.
torch::Tensor predict_once(const Decoder& decoder, const torch::Tensor& xs, const torch::Tensor& ys, int64_t loops = 0);

}  // namespace incontext::models

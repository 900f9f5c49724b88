#include "train/objective.h"

#include <algorithm>

namespace incontext::train {

models::LoopRange loop_range(int64_t budget, int64_t window) {
  return {.count = budget, .read_from = std::max<int64_t>(0, budget - window), .truncate = true};
}

torch::Tensor squared_error_objective(const models::Decoder& decoder, const tasks::Batch& batch,
                                      const models::LoopRange& loops) {
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

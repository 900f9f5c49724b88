#pragma once

#include <vector>

#include "models/decoder.h"
#include "tensor/torch.h"
#include "train/options.h"

namespace incontext::train {

/// Adam and AdamW with the moments in the open, so that they can be saved. Only parameters that want a gradient are
/// updated and have moments.
class Optimizer {
 public:
  struct Moments {
    torch::Tensor first, second;  // shaped as the parameter
  };

  /// Leaves out the parameters that want no gradient.
  Optimizer(const OptimizerOptions& options, const std::vector<models::NamedTensor>& parameters);

  /// Euclidean norm over all gradients.
  double gradient_norm() const;
  /// The same as a scalar where the gradients are, without waiting for the device.
  torch::Tensor gradient_norm_tensor() const;

  /// One update with the gradients multiplied by `gradient_scale`. `step` counts from 1. `use_kernels` false composes
  /// the update from libtorch operations.
  void step(double learning_rate, double gradient_scale, int64_t step, bool use_kernels);

  /// Those that are updated, and the moments of each.
  const std::vector<models::NamedTensor>& parameters() const { return parameters_; }
  std::vector<Moments>& moments() { return moments_; }
  const std::vector<Moments>& moments() const { return moments_; }

 private:
  bool on_cpu() const;

  OptimizerOptions options_;
  std::vector<models::NamedTensor> parameters_;
  std::vector<Moments> moments_;
};

}  // namespace incontext::train

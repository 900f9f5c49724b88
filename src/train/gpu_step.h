#pragma once

#include <memory>
#include <vector>

#include "tensor/cuda.h"
#include "train/objectives/objective.h"
#include "train/optimizer.h"

namespace incontext::train {

/// Losses and gradients of a training step on a GPU. What a step launches is recorded the second time that batches have
/// their shapes, and replayed from then on; meanwhile the processor draws the next step's samples.
class GpuStep {
 public:
  GpuStep(Objective& objective, const Optimizer& optimizer);

  struct Request {
    uint64_t first = 0;  // samples first … first + count - 1, in `parts` parts
    int64_t count = 0;
    int64_t parts = 1;
    Stage stage;
    Stage next_stage;  // of the step after it, which takes the next `count` samples
  };
  struct Result {
    double loss = 0;  // what is minimised
    std::vector<LossValue> losses = {};
    double gradient_norm = 0;
  };
  /// Leaves the gradients of the mean loss in the objective's parameters.
  Result run(const Request& request);

 private:
  void load(const Samples& samples);
  void compute(int64_t parts, const Stage& stage);

  Objective& objective_;
  const Optimizer& optimizer_;
  Samples inputs_;                   // on the device, where the recorded work reads them
  torch::Tensor results_;            // [2 + losses]: what is minimised, the gradient norm, and each loss
  std::vector<std::string> losses_;  // their names
  int64_t loops_ = 0;                // the other thing, beside the inputs' shapes, that the work depends on
  std::unique_ptr<tensor::CudaGraph> graph_;
  bool warm_ = false;  // this work ran once
  uint64_t drawn_first_ = 0;
  Stage drawn_stage_;
  Samples drawn_;
};

}  // namespace incontext::train

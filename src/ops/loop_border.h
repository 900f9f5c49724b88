#pragma once

#include "ops/settings.h"
#include "tensor/torch.h"

namespace incontext::ops {

/// What lies between two loops of a looped model that adds its input to every loop (kernels/loop_border.h).
struct LoopBorder {
  torch::Tensor hidden;      // [batch, time, width], iterate + input: where the next loop starts
  torch::Tensor input;       // the input again, for the next border: so its gradients are added up border by border
  torch::Tensor prediction;  // [batch, time / 2], read at tokens 0, 2, … of iterate
};

/// iterate, input [batch, time, width], time even; weight [1, width] and bias [1] of the read-out. All want gradients
/// together or not at all. The read-out is a product in fp32 whatever settings.precision says.
LoopBorder loop_border(const Settings& settings, const torch::Tensor& iterate, const torch::Tensor& input,
                       const torch::Tensor& weight, const torch::Tensor& bias);

}  // namespace incontext::ops

#pragma once

#include "ops/settings.h"
#include "tensor/torch.h"

namespace incontext::ops {

/// Learned positions: hidden [batch, time, width] + the first `time` rows of table [positions, width].
torch::Tensor add_position(const Settings& settings, const torch::Tensor& hidden, const torch::Tensor& table);

}  // namespace incontext::ops

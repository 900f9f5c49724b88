#pragma once

#include <initializer_list>

#include "tensor/torch.h"

namespace incontext::ops {

/// How an argument that may be absent enters a torch::autograd::Function: an undefined tensor it does not take.
using OptionalTensor = c10::optional<torch::Tensor>;

inline bool present(const OptionalTensor& tensor) { return tensor.has_value() && tensor->defined(); }

/// Which of a function's arguments want a gradient, to be kept until the backward pass.
inline c10::List<bool> wanted_gradients(std::initializer_list<OptionalTensor> arguments) {
  c10::List<bool> wanted;
  for (const OptionalTensor& argument : arguments) wanted.push_back(present(argument) && argument->requires_grad());
  return wanted;
}

}  // namespace incontext::ops

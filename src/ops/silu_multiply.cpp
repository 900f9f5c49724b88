#include "ops/silu_multiply.h"

namespace incontext::ops {

torch::Tensor silu_multiply(const Settings&, const torch::Tensor& gate, const torch::Tensor& up) {
  return torch::silu(gate) * up;
}

}  // namespace incontext::ops

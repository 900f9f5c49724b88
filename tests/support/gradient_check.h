#pragma once

#include <functional>
#include <string>
#include <vector>

#include "support/close.h"
#include "tensor/torch.h"

namespace incontext::testing {

using TensorFunction = std::function<torch::Tensor(const std::vector<torch::Tensor>&)>;

struct GradientCheckOptions {
  /// Half the distance between the two points of a central difference. Its error is step^2 f'''/6 + epsilon |f| / step,
  /// least near the cube root of epsilon.
  double step = 1e-5;
  Tolerance tolerance{.absolute = 1e-7, .relative = 1e-6};
};

/// For functions that take and compute in float only. Errors are near 1e-4 for values near 1; a function whose values
/// or third derivatives are larger needs a tolerance to match.
inline GradientCheckOptions float_gradients(Tolerance tolerance = {.absolute = 2e-3, .relative = 2e-3}) {
  return {.step = 1e-2, .tolerance = tolerance};
}

/// Compares the whole Jacobian by central differences with the one that backward gives, for inputs of a few elements.
/// Backward is asked once per output element, once with all at once, and once for sum(), whose gradient is one value
/// seen through strides of zero. Returns "" or one line that names the input. `function` must be smooth near `inputs`
/// and return new tensors; inputs it does not use have gradient 0.
std::string compare_gradients(const TensorFunction& function, const std::vector<torch::Tensor>& inputs,
                              const GradientCheckOptions& options = {});

}  // namespace incontext::testing

#define EXPECT_GRADIENTS(...)                                                             \
  do {                                                                                    \
    const std::string difference_ = ::incontext::testing::compare_gradients(__VA_ARGS__); \
    EXPECT_TRUE(difference_.empty()) << difference_;                                      \
  } while (false)

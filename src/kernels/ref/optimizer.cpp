#include "kernels/optimizer.h"

#include <cmath>

namespace incontext::kernels::ref {

void adam_step(const AdamStep& step, const AdamParameter& parameter) {
  for (int64_t i = 0; i < parameter.size; ++i) {
    const auto p = static_cast<double>(parameter.parameter[i]);
    double g = step.gradient_scale * static_cast<double>(parameter.gradient[i]);
    if (!step.decoupled) g += step.weight_decay * p;
    const double m = step.beta1 * static_cast<double>(parameter.first_moment[i]) + (1 - step.beta1) * g;
    const double v = step.beta2 * static_cast<double>(parameter.second_moment[i]) + (1 - step.beta2) * g * g;
    double change = m / step.correction1 / (std::sqrt(v / step.correction2) + step.epsilon);
    if (step.decoupled) change += step.weight_decay * p;
    parameter.first_moment[i] = static_cast<float>(m);
    parameter.second_moment[i] = static_cast<float>(v);
    parameter.parameter[i] = static_cast<float>(p - step.learning_rate * change);
  }
}

double squared_norm(std::span<const AdamParameter> parameters) {
  double sum = 0;
  for (const AdamParameter& parameter : parameters) {
    for (int64_t i = 0; i < parameter.size; ++i) {
      const auto g = static_cast<double>(parameter.gradient[i]);
      sum += g * g;
    }
  }
  return sum;
}

}  // namespace incontext::kernels::ref

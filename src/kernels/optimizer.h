#pragma once

#include <cstdint>
#include <span>

#include "base/threads.h"

namespace incontext::kernels {

/// One step of Adam (Kingma & Ba 2015, algorithm 1) or AdamW (Loshchilov & Hutter 2019, algorithm 2) on one
/// parameter: g = gradient_scale * gradient (+ weight_decay * p unless decoupled);
/// m = beta1 m + (1-beta1) g;  v = beta2 v + (1-beta2) g²;
/// p -= learning_rate * (m / correction1) / (sqrt(v / correction2) + epsilon)  (+ learning_rate * weight_decay * p
/// when decoupled), with correction_k = 1 - beta_k^step.
struct AdamStep {
  double learning_rate = 0, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0;
  bool decoupled = false;
  double gradient_scale = 1;  // clipping
  double correction1 = 1, correction2 = 1;
};

struct AdamParameter {
  float* parameter = nullptr;
  const float* gradient = nullptr;
  float* first_moment = nullptr;
  float* second_moment = nullptr;
  int64_t size = 0;
};

/// All parameters of a model in one parallel pass.
void adam_step(const AdamStep& step, std::span<const AdamParameter> parameters, base::ThreadPool& pool);

/// Sum of squares over all gradients, in double, in an order that does not depend on the number of threads.
double squared_norm(std::span<const AdamParameter> parameters, base::ThreadPool& pool);

namespace ref {
void adam_step(const AdamStep& step, const AdamParameter& parameter);
double squared_norm(std::span<const AdamParameter> parameters);
}  // namespace ref

}  // namespace incontext::kernels

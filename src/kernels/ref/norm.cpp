#include "kernels/norm.h"

#include <cmath>
#include <vector>

namespace incontext::kernels::ref {

void norm_forward(const NormForward& args) {
  const auto width = static_cast<double>(args.width);
  for (int64_t i = 0; i < args.rows; ++i) {
    const float* x = args.x + i * args.width;
    double mean = 0;
    if (args.kind == NormKind::layer) {
      for (int64_t j = 0; j < args.width; ++j) mean += static_cast<double>(x[j]) / width;
    }
    double variance = 0;
    for (int64_t j = 0; j < args.width; ++j) variance += std::pow(static_cast<double>(x[j]) - mean, 2) / width;
    const double rstd = 1 / std::sqrt(variance + static_cast<double>(args.epsilon));
    for (int64_t j = 0; j < args.width; ++j) {
      const double shift = args.beta == nullptr ? 0 : static_cast<double>(args.beta[j]);
      const double y = (static_cast<double>(x[j]) - mean) * rstd * static_cast<double>(args.gamma[j]) + shift;
      args.y.set(i * args.width + j, static_cast<float>(y));
    }
    if (args.kind == NormKind::layer) args.mean[i] = static_cast<float>(mean);
    args.rstd[i] = static_cast<float>(rstd);
  }
}

void norm_backward(const NormBackward& args) {
  const auto width = static_cast<double>(args.width);
  std::vector<double> dgamma(static_cast<std::size_t>(args.width));
  std::vector<double> dbeta(static_cast<std::size_t>(args.width));
  for (int64_t i = 0; i < args.rows; ++i) {
    const double mean = args.kind == NormKind::layer ? static_cast<double>(args.mean[i]) : 0;
    const auto rstd = static_cast<double>(args.rstd[i]);
    double mean_g = 0;   // of g = dy * gamma
    double mean_gn = 0;  // of g * normed x
    for (int64_t j = 0; j < args.width; ++j) {
      const auto dy = static_cast<double>(args.dy[i * args.width + j]);
      const double normed = (static_cast<double>(args.x[i * args.width + j]) - mean) * rstd;
      const double g = dy * static_cast<double>(args.gamma[j]);
      mean_g += g / width;
      mean_gn += g * normed / width;
      dgamma[static_cast<std::size_t>(j)] += dy * normed;
      dbeta[static_cast<std::size_t>(j)] += dy;
    }
    if (args.kind == NormKind::rms) mean_g = 0;
    for (int64_t j = 0; j < args.width; ++j) {
      const int64_t at = i * args.width + j;
      const double normed = (static_cast<double>(args.x[at]) - mean) * rstd;
      const double g = static_cast<double>(args.dy[at]) * static_cast<double>(args.gamma[j]);
      const int64_t read = args.residual_reads.count(i);
      const bool has_past = args.residual_gradient != nullptr && args.residual_reads.token(read) == i;
      const int64_t past_at = read * args.width + j;
      const double past = has_past ? static_cast<double>(args.residual_gradient[past_at]) : 0;
      args.dx[at] = static_cast<float>(past + rstd * (g - mean_g - normed * mean_gn));
    }
  }
  for (int64_t j = 0; j < args.width; ++j) {
    args.dgamma[j] = static_cast<float>(dgamma[static_cast<std::size_t>(j)]);
    if (args.dbeta != nullptr) args.dbeta[j] = static_cast<float>(dbeta[static_cast<std::size_t>(j)]);
  }
}

}  // namespace incontext::kernels::ref

#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "eval/baselines/bootstrap_options.h"
#include "tensor/torch.h"

namespace incontext::eval {

/// A mean and its percentile bootstrap interval (Efron & Tibshirani, 1993, chapter 13).
struct Interval {
  double mean = 0;
  double low = 0;
  double high = 0;
};

/// Of the mean of `values`; there must be at least one.
Interval bootstrap(std::span<const double> values, const BootstrapOptions& options = {});

/// Of every column's mean, values [prompts, points] f64. A resample draws whole prompts, the same for all columns.
std::vector<Interval> bootstrap_columns(const torch::Tensor& values, const BootstrapOptions& options = {});

}  // namespace incontext::eval

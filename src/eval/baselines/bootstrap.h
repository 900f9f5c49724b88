#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/options.h"
#include "tensor/torch.h"

namespace incontext::eval {

struct BootstrapOptions {
  int64_t resamples = 1000;
  double confidence = 0.9;
  uint64_t seed = 0;

  template <class Visitor>
  void visit(Visitor& v) {
    v.field("resamples", resamples, "bootstrap samples behind an interval", base::at_least(1));
    v.field("confidence", confidence, "share of them inside it (0.9 in Garg et al.)", base::between(0, 1));
    v.field("seed", seed, "names the bootstrap samples");
  }
};

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

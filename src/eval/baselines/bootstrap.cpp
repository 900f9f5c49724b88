#include "eval/baselines/bootstrap.h"

#include <algorithm>

#include "base/error.h"
#include "base/random.h"
#include "base/statistics.h"

namespace incontext::eval {

std::vector<Interval> bootstrap_columns(const torch::Tensor& values, const BootstrapOptions& options) {
  base::check(
      values.dim() == 2 && values.size(0) > 0 && values.scalar_type() == torch::kFloat64,
      "[bootstrap] expected f64 values [prompts, points] of at least one prompt, got {} values in {} dimensions",
      values.numel(), values.dim());
  const torch::Tensor rows = values.contiguous();
  const auto prompts = static_cast<uint64_t>(rows.size(0));
  const auto points = static_cast<size_t>(rows.size(1));
  const double* data = rows.data_ptr<double>();
  std::vector<std::vector<double>> means(points);  // [points][resamples]
  std::vector<double> sums(points);
  for (int64_t resample = 0; resample < options.resamples; ++resample) {
    base::RandomStream stream(options.seed, "bootstrap", static_cast<uint64_t>(resample));
    std::fill(sums.begin(), sums.end(), 0.0);
    for (uint64_t draw = 0; draw < prompts; ++draw) {
      const double* row = data + stream.below(prompts) * points;
      for (size_t i = 0; i < points; ++i) sums[i] += row[i];
    }
    for (size_t i = 0; i < points; ++i) means[i].push_back(sums[i] / static_cast<double>(prompts));
  }
  const double tail = (1 - options.confidence) / 2;
  std::vector<Interval> intervals;
  for (size_t i = 0; i < points; ++i) {
    double sum = 0;
    for (uint64_t row = 0; row < prompts; ++row) sum += data[row * points + i];
    std::sort(means[i].begin(), means[i].end());
    intervals.push_back(
        {sum / static_cast<double>(prompts), base::quantile(means[i], tail), base::quantile(means[i], 1 - tail)});
  }
  return intervals;
}

Interval bootstrap(std::span<const double> values, const BootstrapOptions& options) {
  base::check(!values.empty(), "[bootstrap] expected at least one value, got none");
  const torch::Tensor column = torch::empty({static_cast<int64_t>(values.size()), 1}, torch::kFloat64);
  std::copy(values.begin(), values.end(), column.data_ptr<double>());
  return bootstrap_columns(column, options)[0];
}

}  // namespace incontext::eval

#include "eval/cache/divergence.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/statistics.h"

namespace incontext::eval {

Distribution distribution_of(std::span<const float> logits) {
  INCONTEXT_ASSERT(!logits.empty());
  Distribution distribution;
  distribution.top = std::max_element(logits.begin(), logits.end()) - logits.begin();
  const double largest = logits[static_cast<size_t>(distribution.top)];
  double sum = 0;
  distribution.probability.reserve(logits.size());
  for (const float logit : logits) {
    distribution.probability.push_back(std::exp(logit - largest));
    sum += distribution.probability.back();
  }
  const double log_sum = std::log(sum);
  distribution.log_probability.reserve(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    distribution.probability[i] /= sum;
    distribution.log_probability.push_back(logits[i] - largest - log_sum);
  }
  return distribution;
}

Divergence compare(const Distribution& full, const Distribution& compressed, int64_t next) {
  INCONTEXT_ASSERT(full.probability.size() == compressed.probability.size());
  double kl = 0;
  for (size_t i = 0; i < full.probability.size(); ++i) {
    const double p = full.probability[i];
    if (p > 0) kl += p * (full.log_probability[i] - compressed.log_probability[i]);
  }
  double loss = -compressed.log_probability[static_cast<size_t>(next)];
  if (std::isnan(kl)) kl = std::numeric_limits<double>::infinity();
  if (std::isnan(loss)) loss = std::numeric_limits<double>::infinity();
  return {.kl = std::max(kl, 0.0),  // below zero by rounding alone
          .same_top = !std::isinf(kl) && full.top == compressed.top,
          .loss = loss};
}

DivergenceSummary summarize(std::span<const Divergence> positions) {
  INCONTEXT_ASSERT(!positions.empty());
  std::vector<double> divergences;
  DivergenceSummary summary{.positions = static_cast<int64_t>(positions.size())};
  const auto count = static_cast<double>(positions.size());
  double loss = 0;
  for (const Divergence& at : positions) {
    divergences.push_back(at.kl);
    summary.kl_mean += at.kl / count;
    summary.same_top += at.same_top ? 1 : 0;
    loss += at.loss / count;
  }
  summary.same_top /= count;
  std::sort(divergences.begin(), divergences.end());
  summary.kl_median = base::quantile(divergences, 0.5);
  summary.kl_p999 = base::quantile(divergences, 0.999);
  summary.perplexity = std::exp(loss);
  return summary;
}

}  // namespace incontext::eval

#include "decode/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "base/error.h"
#include "base/random.h"

namespace incontext::decode {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Candidate {
  int64_t token = 0;
  double logit = 0;
  double probability = 0;
};

bool better(const Candidate& a, const Candidate& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
}

double log_sum_exp(std::span<const float> logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - largest);
  return largest + std::log(sum);
}

void check_finite(std::span<const float> logits) {
  bool any = false;
  for (const float logit : logits) {
    base::check(!std::isnan(logit) && logit < kInfinity, "the model's logits are not finite");
    any = any || logit > -kInfinity;
  }
  base::check(any, "the model's logits are all -infinity");
}

// Biases and penalties may be as large as a double holds; what they make of a logit stays finite, so that sums and
// differences of logits do. A token that the model excludes (-infinity) stays excluded.
constexpr double kLargestLogit = 1e150;

void change(double& logit, double to) {
  if (logit == -kInfinity || std::isnan(to)) return;
  logit = std::clamp(to, -kLargestLogit, kLargestLogit);
}

void apply_penalties(std::vector<double>& logits, const SamplingOptions& options, std::span<const int64_t> prompt,
                     std::span<const int64_t> generated) {
  const auto known = [&](int64_t token) { return token >= 0 && token < static_cast<int64_t>(logits.size()); };
  for (const auto& [token, bias] : options.logit_bias) {
    if (!known(token)) continue;
    double& logit = logits[static_cast<size_t>(token)];
    change(logit, logit + bias);
  }
  if (options.repetition_penalty != 1) {
    std::set<int64_t> seen(prompt.begin(), prompt.end());
    seen.insert(generated.begin(), generated.end());
    for (const int64_t token : seen) {
      if (!known(token)) continue;
      double& logit = logits[static_cast<size_t>(token)];
      change(logit, logit > 0 ? logit / options.repetition_penalty : logit * options.repetition_penalty);
    }
  }
  if (options.presence_penalty == 0 && options.frequency_penalty == 0) return;
  std::map<int64_t, int64_t> counts;
  for (const int64_t token : generated) ++counts[token];
  for (const auto& [token, count] : counts) {
    if (!known(token)) continue;
    double& logit = logits[static_cast<size_t>(token)];
    change(logit, logit - options.presence_penalty - options.frequency_penalty * static_cast<double>(count));
  }
}

// The tokens that may be drawn, best first, with probabilities that sum to 1.
std::vector<Candidate> candidates(const std::vector<double>& logits, const SamplingOptions& options) {
  std::vector<Candidate> all;
  all.reserve(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] > -kInfinity) all.push_back({.token = static_cast<int64_t>(i), .logit = logits[i]});
  }
  if (options.top_k > 0 && options.top_k < static_cast<int64_t>(all.size())) {
    std::nth_element(all.begin(), all.begin() + options.top_k - 1, all.end(), better);
    all.resize(static_cast<size_t>(options.top_k));
  }
  std::sort(all.begin(), all.end(), better);
  double sum = 0;
  for (Candidate& candidate : all) {
    // The difference first: a logit over a tiny temperature is infinite, and two of them differ by NaN.
    candidate.probability = std::exp((candidate.logit - all.front().logit) / options.temperature);
    sum += candidate.probability;
  }
  for (Candidate& candidate : all) candidate.probability /= sum;
  size_t kept = all.size();
  if (options.top_p < 1) {
    double reached = 0;
    for (kept = 0; kept < all.size() && reached < options.top_p; ++kept) reached += all[kept].probability;
    kept = std::max<size_t>(kept, 1);
  }
  while (kept > 1 && all[kept - 1].probability < options.min_p * all.front().probability) --kept;
  all.resize(kept);
  sum = 0;
  for (const Candidate& candidate : all) sum += candidate.probability;
  for (Candidate& candidate : all) candidate.probability /= sum;
  return all;
}

int64_t draw(const std::vector<Candidate>& candidates, double uniform) {
  double reached = 0;
  for (const Candidate& candidate : candidates) {
    reached += candidate.probability;
    if (uniform < reached) return candidate.token;
  }
  return candidates.back().token;
}

int64_t best(const std::vector<double>& logits) {
  return std::max_element(logits.begin(), logits.end()) - logits.begin();  // the first of equals
}

// How many of the logits belong to tokens.
size_t tokens_of(std::span<const float> logits, int64_t tokens) {
  return tokens > 0 ? std::min(logits.size(), static_cast<size_t>(tokens)) : logits.size();
}

}  // namespace

Choice score(std::span<const float> logits, int64_t token, int64_t top_logprobs, int64_t tokens) {
  base::check(token >= 0 && token < static_cast<int64_t>(logits.size()), "token {} is not one of {}", token,
              logits.size());
  check_finite(logits);
  const double normaliser = log_sum_exp(logits);
  Choice choice{.token = token, .logprob = logits[static_cast<size_t>(token)] - normaliser};
  std::vector<Candidate> all;
  if (top_logprobs == 0) return choice;
  for (size_t i = 0; i < tokens_of(logits, tokens); ++i) {
    all.push_back({.token = static_cast<int64_t>(i), .logit = logits[i]});
  }
  const auto count = std::min<int64_t>(top_logprobs, static_cast<int64_t>(all.size()));
  std::partial_sort(all.begin(), all.begin() + count, all.end(), better);
  for (int64_t i = 0; i < count; ++i) {
    const Candidate& candidate = all[static_cast<size_t>(i)];
    choice.top.push_back({candidate.token, candidate.logit - normaliser});
  }
  return choice;
}

Choice choose(std::span<const float> logits, const SamplingOptions& options, std::span<const int64_t> prompt,
              std::span<const int64_t> generated, int64_t top_logprobs, int64_t tokens) {
  const std::span<const float> choosable = logits.first(tokens_of(logits, tokens));
  check_finite(choosable);
  std::vector<double> adjusted(choosable.begin(), choosable.end());
  apply_penalties(adjusted, options, prompt, generated);
  int64_t token = 0;
  if (options.temperature == 0) {
    token = best(adjusted);
  } else {
    base::RandomStream stream(options.seed, "sampling", generated.size());
    token = draw(candidates(adjusted, options), stream.uniform(0, 1));
  }
  return top_logprobs >= 0 ? score(logits, token, top_logprobs, tokens) : Choice{.token = token};
}

}  // namespace incontext::decode

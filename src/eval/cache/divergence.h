#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace incontext::eval {

/// What logits say of the next token.
struct Distribution {
  std::vector<double> probability, log_probability;
  int64_t top = 0;  // the likeliest token; of equal ones the first
};
Distribution distribution_of(std::span<const float> logits);

/// How far a compressed cache leads a model away from the full one, at one position.
struct Divergence {
  double kl = 0;  // of what the compressed cache predicts from what the full one does, in nats; infinite where it
                  // predicts nothing at all (logits that are not numbers)
  bool same_top = false;
  double loss = 0;  // of the token that came, under the compressed cache, in nats
};
Divergence compare(const Distribution& full, const Distribution& compressed, int64_t next);

/// The same over many positions.
struct DivergenceSummary {
  int64_t positions = 0;
  double kl_mean = 0, kl_median = 0;
  double kl_p999 = 0;  // the 99.9 % quantile: means hide catastrophes
  double same_top = 0;
  double perplexity = 0;
};
/// There must be at least one.
DivergenceSummary summarize(std::span<const Divergence> positions);

}  // namespace incontext::eval

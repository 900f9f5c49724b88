#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/options.h"

namespace incontext::decode {

/// How the next token is chosen. The defaults draw from the model's own distribution; temperature 0 takes the best.
struct SamplingOptions {
  double temperature = 1;
  int64_t top_k = 0;
  double top_p = 1;
  double min_p = 0;
  double repetition_penalty = 1;
  double presence_penalty = 0;
  double frequency_penalty = 0;
  uint64_t seed = 0;
  std::map<int64_t, double> logit_bias = {};

  template <class Visitor>
  void visit(Visitor& v) {
    v.field("temperature", temperature, "divides the logits; 0: always the likeliest token", base::between(0, 100));
    v.field("top_k", top_k, "only the k likeliest tokens; 0: all", base::at_least(0));
    v.field("top_p", top_p, "only the likeliest tokens that together reach this probability", base::between(0, 1));
    v.field("min_p", min_p, "only tokens with at least this part of the likeliest one's probability",
            base::between(0, 1));
    v.field("repetition_penalty", repetition_penalty,
            "divides positive logits of tokens seen, multiplies negative ones", base::positive());
    v.field("presence_penalty", presence_penalty, "subtracted once from logits of generated tokens",
            base::between(-100, 100));
    v.field("frequency_penalty", frequency_penalty, "subtracted for every time a token was generated",
            base::between(-100, 100));
    v.field("seed", seed, "names the random stream of the draws");
  }
};

struct TokenLogprob {
  int64_t token = 0;
  double logprob = 0;
};

struct Choice {
  int64_t token = 0;
  double logprob = 0;                  // under the model's own distribution, before any option
  std::vector<TokenLogprob> top = {};  // the likeliest tokens, best first, when they were asked for
};

/// Chooses a token from logits [vocabulary]. `prompt` and `generated` are what came before, for the penalties; the draw
/// is that of RandomStream(seed, "sampling", generated.size()), so that a request gives the same tokens whatever else
/// runs. Without log-probabilities (top_logprobs -1) Choice::logprob is 0. In this order: logit_bias, repetition
/// penalty (prompt and generated), presence and frequency penalties (generated), temperature, top_k, top_p, min_p. Ties
/// go to the lower id. Logits that are not finite everywhere are an Error; -infinity is allowed.
///
/// Only ids below `tokens` are chosen (0: all): a model's matrix of embeddings is often padded with rows for which the
/// tokenizer has no token. Log-probabilities are normalised over all logits all the same.
Choice choose(std::span<const float> logits, const SamplingOptions& options, std::span<const int64_t> prompt,
              std::span<const int64_t> generated, int64_t top_logprobs = 0, int64_t tokens = 0);

/// The log-probability of `token`, normalised over all logits, and the `top_logprobs` likeliest of the ids below
/// `tokens` (0: all) with theirs.
Choice score(std::span<const float> logits, int64_t token, int64_t top_logprobs, int64_t tokens = 0);

}  // namespace incontext::decode

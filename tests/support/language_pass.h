#pragma once

#include "cache/policy.h"
#include "models/decoder.h"
#include "ops/next_token_loss.h"

// Passes of a language model through the seam of its decoder, by hand.

namespace incontext::testing {

/// Mean loss of the next token over sequences [batch, time + 1], with gradients, as a training step computes it.
inline torch::Tensor language_loss(const models::Decoder& decoder, const torch::Tensor& sequences) {
  const int64_t time = sequences.size(1) - 1;
  const torch::Tensor hidden =
      decoder.run_layers(decoder.embed(sequences.narrow(1, 0, time)), 0, decoder.options().layers);
  const torch::Tensor read = decoder.before_head(decoder.final_norm(hidden));
  return ops::next_token_loss(decoder.operations(), read.reshape({-1, read.size(-1)}), decoder.head_weight(),
                              sequences.narrow(1, 1, time).reshape({-1}));
}

struct States {
  std::vector<torch::Tensor> hidden;  // before every layer, and after the last: [tokens, width]
  torch::Tensor logits;               // [tokens, vocabulary]
};

/// One sequence without gradients: as a batch of whole sequences, or as a ragged step that fills a cache.
inline States states_of(const models::Decoder& decoder, const std::vector<int64_t>& tokens, bool ragged) {
  torch::NoGradGuard no_gradients;
  States states;
  models::Step step;
  cache::SequenceState state;
  const auto count = static_cast<int64_t>(tokens.size());
  if (ragged) {
    state.cache = cache::make_cache({.kind = "full", .words = {"f32"}}, decoder.cache_shape(count));
    step.sequences = {{&state, count}};
  }
  step.hook = [&](const models::Boundary&, torch::Tensor& hidden) {
    states.hidden.push_back(hidden.reshape({-1, hidden.size(-1)}).clone());
  };
  const torch::Tensor ids = torch::tensor(tokens, torch::kInt64);
  const torch::Tensor hidden =
      decoder.run_layers(decoder.embed(ragged ? ids : ids.unsqueeze(0), step), 0, decoder.options().layers, step);
  const torch::Tensor logits = decoder.head(decoder.final_norm(hidden));
  states.logits = logits.reshape({-1, logits.size(-1)});
  return states;
}

}  // namespace incontext::testing

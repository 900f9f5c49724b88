#include "models/next_tokens.h"

#include <algorithm>

#include "base/error.h"
#include "ops/next_token_loss.h"

namespace incontext::models {

using torch::Tensor;

NextTokens next_tokens(const Decoder& decoder, const Tensor& sequences) {
  const int64_t time = sequences.size(1) - 1;
  const Tensor inputs = sequences.narrow(1, 0, time).contiguous();
  const Tensor hidden = decoder.run_layers(decoder.embed(inputs), 0, decoder.options().layers);
  const Tensor rows = decoder.before_head(decoder.final_norm(hidden));
  return {.hidden = rows.reshape({-1, rows.size(-1)}), .targets = sequences.narrow(1, 1, time).reshape({-1})};
}

Tensor next_token_loss(const Decoder& decoder, const Tensor& sequences) {
  const NextTokens next = next_tokens(decoder, sequences);
  return ops::next_token_loss(decoder.operations(), next.hidden, decoder.head_weight(), next.targets);
}

Tensor next_token_losses(const Decoder& decoder, const Tensor& sequences) {
  torch::NoGradGuard no_gradients;
  const NextTokens next = next_tokens(decoder, sequences);
  return ops::next_token_losses(decoder.operations(), next.hidden, decoder.head_weight(), next.targets)
      .view({sequences.size(0), -1});
}

Tensor held_out_losses(const Decoder& decoder, const tasks::PackedText& text, int64_t sequences, int64_t batch,
                       const std::function<void(int64_t)>& done) {
  const int64_t count = std::min(sequences, text.held_out_sequences());
  base::check(count > 0,
              "task.text: no held-out sequence; expected a larger held_out_fraction or a longer held-out text");
  std::vector<Tensor> parts;
  for (int64_t first = 0; first < count; first += batch) {
    const int64_t rows = std::min(batch, count - first);
    parts.push_back(
        next_token_losses(decoder, text.held_out(first, rows).to(decoder.device())).to(torch::kCPU, torch::kFloat64));
    if (done) done(first + rows);
  }
  return torch::cat(parts);
}

}  // namespace incontext::models

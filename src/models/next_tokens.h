#pragma once

#include <functional>

#include "models/decoder.h"
#include "tasks/packed_text.h"
#include "tensor/torch.h"

// Language models on whole sequences: what they predict of tokens 1 … time of sequences [batch, time + 1] (int64), each
// from those before it.

namespace incontext::models {

/// What is left to do to predict them: the rows that the head's matrix multiplies, [batch * time, token_width], and
/// their targets, [batch * time].
struct NextTokens {
  torch::Tensor hidden, targets;
};
NextTokens next_tokens(const Decoder& decoder, const torch::Tensor& sequences);

/// Mean cross-entropy over all of them, in nats, with gradients.
torch::Tensor next_token_loss(const Decoder& decoder, const torch::Tensor& sequences);

/// That of every token, [batch, time], without gradients.
torch::Tensor next_token_losses(const Decoder& decoder, const torch::Tensor& sequences);

/// The same of the first `sequences` held-out sequences (fewer where there are fewer), [sequences, context] f64 on the
/// CPU, `batch` at a time. `done` is told the number finished.
torch::Tensor held_out_losses(const Decoder& decoder, const tasks::PackedText& text, int64_t sequences, int64_t batch,
                              const std::function<void(int64_t)>& done = {});

}  // namespace incontext::models

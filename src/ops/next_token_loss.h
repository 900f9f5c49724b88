#pragma once

#include "ops/settings.h"
#include "ops/weight.h"
#include "tensor/torch.h"

namespace incontext::ops {

/// Mean over tokens of the cross-entropy (nats) between softmax(head·hidden) and the target, computed a part of the
/// tokens at a time, with the gradients, so that logits [tokens, vocabulary] never lie in memory at once.
/// hidden [tokens, width], head [vocabulary, width] without a bias, targets int64 [tokens].
torch::Tensor next_token_loss(const Settings& settings, const torch::Tensor& hidden, const Weight& head,
                              const torch::Tensor& targets);

/// The same without the mean and without gradients: [tokens].
torch::Tensor next_token_losses(const Settings& settings, const torch::Tensor& hidden, const Weight& head,
                                const torch::Tensor& targets);

}  // namespace incontext::ops

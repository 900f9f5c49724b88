#pragma once

#include "kernels/attention.h"
#include "kernels/cpu/bf16_tiles.h"

namespace incontext::kernels {

/// Attention on a unit for tiles: the products are of bf16 factors, to which probabilities and the gradients of scores
/// are rounded as well; sums and softmax are in fp32. It takes queries, keys, values and dout in bf16; what it writes,
/// and out in the backward pass, may lie in either.
bool attention_takes_tiles(const AttentionForward& args);
bool attention_takes_tiles(const AttentionBackward& args);

void attention_forward_on_tiles(const AttentionForward& args, TileStrip multiply, base::ThreadPool& pool);
void attention_backward_on_tiles(const AttentionBackward& args, TileStrip multiply, base::ThreadPool& pool);

}  // namespace incontext::kernels

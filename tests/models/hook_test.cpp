// Hooks at layer boundaries of whole sequences: with gradients, loop by loop. Those of ragged steps and of requests are
// tested with the engine.

#include <gtest/gtest.h>

#include "models/prompt_model.h"
#include "support/tensor_close.h"

namespace incontext::models {
namespace {

using torch::Tensor;

DecoderOptions small() {
  DecoderOptions options;
  options.width = 16;
  options.layers = 3;
  options.attention.heads = 2;
  options.max_positions = 12;
  options.init_std = 0.3;
  return options;
}

TEST(Hooks, ReplaceHiddenStatesWithGradients) {
  torch::manual_seed(0);
  const Decoder decoder(small(), /*input_dims=*/2, /*seed=*/1, torch::kCPU);
  const Tensor xs = torch::randn({3, 5, 2}), ys = torch::randn({3, 5});
  const Tensor hidden = decoder.embed(interleave(xs, ys)).detach();
  // Adding a vector between layers 1 and 2 is running the rest from the changed states, forward and back.
  const auto gradient_of = [&](bool by_hook) {
    Tensor vector = torch::full({16}, 0.1).set_requires_grad(true);
    Tensor result;
    if (by_hook) {
      Step step;
      step.hook = [&](const Boundary& boundary, Tensor& states) {
        if (boundary.layer == 2) states = states + vector;
      };
      result = decoder.run_layers(hidden, 0, 3, step);
    } else {
      result = decoder.run_layers(decoder.run_layers(hidden, 0, 2) + vector, 2, 3);
    }
    result.square().sum().backward();
    return std::pair{result.detach(), vector.grad()};
  };
  const auto hooked = gradient_of(true), by_hand = gradient_of(false);
  EXPECT_TRUE(torch::equal(hooked.first, by_hand.first));
  EXPECT_TENSORS_CLOSE(hooked.second, by_hand.second, testing::accumulated(testing::kEpsilonF32, 500, 50));
  EXPECT_GT(hooked.second.abs().sum().item<double>(), 0);
}

TEST(Hooks, KnowLayerLoopAndTokens) {
  DecoderOptions looped = small();
  looped.loop = {.count = 2, .first_layer = 1, .last_layer = 3, .injection = Injection::add};
  const Decoder decoder(looped, /*input_dims=*/2, /*seed=*/1, torch::kCPU);
  const Tensor xs = torch::randn({3, 5, 2}), ys = torch::randn({3, 5});
  std::vector<std::tuple<int64_t, int64_t, int64_t>> seen;  // loop, layer, tokens
  Step step;
  step.hook = [&](const Boundary& boundary, const Tensor& states) {
    EXPECT_EQ(states.size(1), boundary.reads.count(10));
    seen.emplace_back(boundary.loop, boundary.layer, states.size(1));
  };
  predict(
      decoder, xs, ys, {.count = 2}, [](int64_t, const Tensor&) {}, step);
  const std::vector<std::tuple<int64_t, int64_t, int64_t>> expected = {{0, 0, 10}, {1, 1, 10}, {1, 2, 10}, {1, 3, 10},
                                                                       {2, 1, 10}, {2, 2, 10}, {2, 3, 5}};
  EXPECT_EQ(seen, expected);
}

TEST(Hooks, SeeTheTokensThatAreRead) {
  const Decoder decoder(small(), /*input_dims=*/2, /*seed=*/1, torch::kCPU);
  const Tensor hidden = decoder.embed(torch::randn({2, 12, 2}));
  Step step;
  step.reads = {.first = 1, .every = 3};  // x z y triples are read at every z
  Tensor last;
  step.hook = [&](const Boundary& boundary, const Tensor& states) {
    if (boundary.layer == 3) last = states;
  };
  const Tensor read = decoder.run_layers(hidden, 0, 3, step);
  EXPECT_EQ(read.sizes(), torch::IntArrayRef({2, 4, 16}));
  EXPECT_TRUE(torch::equal(last, read));
  EXPECT_TENSORS_CLOSE(read, decoder.run_layers(hidden, 0, 3).slice(1, 1, 12, 3),
                       testing::accumulated(testing::kEpsilonF32, 100, 20));
}

}  // namespace
}  // namespace incontext::models

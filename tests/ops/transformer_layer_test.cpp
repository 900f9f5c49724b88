#include "ops/transformer_layer.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "ops/agreement.h"
#include "ops/linear.h"
#include "ops/mlp.h"
#include "ops/norm.h"
#include "support/gradient_check.h"
#include "tensor/device.h"

namespace incontext::ops {
namespace {

using kernels::Activation;
using kernels::NormKind;
using kernels::Precision;
using testing::draw;
using torch::Tensor;

struct Case {
  const char* name;
  int64_t batch, time;
  LayerOptions options;
  bool biases = true;
  int64_t width = 24;
  int64_t hidden = 256;  // rows of 1 KiB, which are padded
};

std::vector<Case> cases() {
  const AttentionHeads two{2, 2, 12}, shared{4, 2, 5};
  const LayerOptions layer{.heads = two},
      rms{.norm = NormKind::rms, .epsilon = 1e-3, .heads = shared, .activation = Activation::relu};
  LayerOptions layer_read = layer, rms_read = rms;
  layer_read.reads = {0, 2};
  rms_read.reads = {1, 3};
  LayerOptions scaled = layer;
  scaled.scale = 0.1;
  return {{"one group", 3, 6, layer},
          {"one group, some tokens", 3, 6, layer_read},
          {"groups", 40, 54, layer},
          {"groups, some tokens", 40, 54, layer_read},
          {"groups, another scale", 40, 54, scaled},
          {"rms, no bias", 37, 60, rms, false},
          {"rms, no bias, some tokens", 37, 60, rms_read, false}};
}

// x, then the weights in the order of LayerWeights.
std::vector<Tensor> inputs_of(const Case& c) {
  const AttentionHeads& heads = c.options.heads;
  const int64_t width = c.width, packed = heads.packed_width(), attended = heads.heads * heads.head_dim;
  std::vector<Tensor> in = {draw({c.batch, c.time, width}, "x"), draw({width}, "gamma", 0.2) + 1,
                            draw({packed, width}, "qkv", 0.15),  draw({width, attended}, "out", 0.15),
                            draw({width}, "gamma2", 0.2) + 1,    draw({c.hidden, width}, "up", 0.15),
                            draw({width, c.hidden}, "down", 0.1)};
  if (!c.biases) return in;
  for (const auto& [size, name] : {std::pair{width, "beta"},
                                   {packed, "qkv_bias"},
                                   {width, "out_bias"},
                                   {width, "beta2"},
                                   {c.hidden, "up_bias"},
                                   {width, "down_bias"}}) {
    in.push_back(draw({size}, name, 0.1));
  }
  return in;
}

LayerWeights weights_of(const std::vector<Tensor>& in) {
  const auto bias = [&](size_t i) { return in.size() > 7 ? in[7 + i] : Tensor(); };
  return {in[1], bias(0), in[2], bias(1), in[3], bias(2), in[4], bias(3), in[5], bias(4), in[6], bias(5)};
}

// The definition.
Tensor composed(const Settings& settings, const std::vector<Tensor>& in, const LayerOptions& o) {
  const LayerWeights w = weights_of(in);
  const Normed before =
      norm(settings, o.norm, in[0], w.attention_gamma, w.attention_beta, o.epsilon, Keep::for_products, o.reads);
  const Tensor qkv = project_qkv(settings, before.normed, w.qkv, w.qkv_bias, o.heads, Keep::for_products, o.reads);
  const Tensor attended =
      attention(settings, qkv, o.heads, {.scale = o.scale, .reads = o.reads, .keep = Keep::for_products});
  const Tensor middle = linear(settings, attended, {w.out, w.out_bias}, before.residual);
  const Normed after = norm(settings, o.norm, middle, w.mlp_gamma, w.mlp_beta, o.epsilon, Keep::for_products);
  return mlp(settings, after.normed, {{w.up, w.up_bias}, {w.down, w.down_bias}}, o.activation, after.residual);
}

testing::Operation composed(const LayerOptions& options) {
  return [options](const Settings& settings, const std::vector<Tensor>& in) { return composed(settings, in, options); };
}

testing::Operation as_one(const LayerOptions& options) {
  return [options](const Settings& settings, const std::vector<Tensor>& in) {
    return transformer_layer(settings, in[0], weights_of(in), options);
  };
}

double off_by(const Tensor& actual, const Tensor& expected) {
  const Tensor exact = expected.to(torch::kFloat64);
  return (actual.to(torch::kFloat64) - exact).norm().item<double>() / exact.norm().item<double>();
}

void expect_near(const std::vector<Tensor>& actual, const std::vector<Tensor>& expected) {
  for (size_t i = 0; i < expected.size(); ++i) {
    SCOPED_TRACE(i == 0 ? std::string("value") : fmt::format("gradient of input {}", i - 1));
    EXPECT_LT(off_by(actual[i], expected[i]), 0x1p-19);
  }
}

TEST(TransformerLayer, MatchesLibtorchInDouble) {
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.name);
    expect_near(testing::value_and_gradients(as_one(c.options), {}, inputs_of(c), torch::kFloat32),
                testing::value_and_gradients(composed(c.options), {.kernels = false}, inputs_of(c), torch::kFloat64));
  }
}

// Against the operations, which round at the same places; only sums over sequences are in another order.
TEST(TransformerLayer, InBf16IsTheOneOfOperations) {
  const Settings bf16{.kernels = true, .precision = Precision::bf16};
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.name);
    expect_near(testing::value_and_gradients(as_one(c.options), bf16, inputs_of(c), torch::kFloat32),
                testing::value_and_gradients(composed(c.options), bf16, inputs_of(c), torch::kFloat32));
  }
}

TEST(TransformerLayer, GivesTheBitsOfTheOperations) {
  for (const Case& c : cases()) {
    for (const Precision precision : {Precision::f32, Precision::bf16}) {
      SCOPED_TRACE(fmt::format("{}, {}", c.name, precision == Precision::f32 ? "f32" : "bf16"));
      const Settings settings{.kernels = true, .precision = precision};
      const std::vector<Tensor> in = inputs_of(c);
      EXPECT_TENSORS_CLOSE(as_one(c.options)(settings, in), composed(c.options)(settings, in), testing::exact());
    }
  }
}

// dx is the same sum for each token; gradients of weights are sums over tokens in another order.
TEST(TransformerLayer, GivesTheGradientsOfTheOperations) {
  for (const Case& c : cases()) {
    for (const Precision precision : {Precision::f32, Precision::bf16}) {
      SCOPED_TRACE(fmt::format("{}, {}", c.name, precision == Precision::f32 ? "f32" : "bf16"));
      const Settings settings{.kernels = true, .precision = precision};
      const auto one = testing::value_and_gradients(as_one(c.options), settings, inputs_of(c), torch::kFloat32);
      const auto many = testing::value_and_gradients(composed(c.options), settings, inputs_of(c), torch::kFloat32);
      EXPECT_TENSORS_CLOSE(one[0], many[0], testing::exact());
      EXPECT_TENSORS_CLOSE(one[1], many[1], testing::exact());
      expect_near(one, many);
    }
  }
}

// Layers that the passes do not know are the operations, one by one.
TEST(TransformerLayer, IsComposedWhereTheKernelsDoNotKnowIt) {
  const Case c = cases()[1];
  LayerOptions irregular = c.options, far = c.options, no_activation = c.options;
  irregular.reads = {1, 4};
  far.reads = {5, 6};
  no_activation.activation = Activation::none;
  const auto expect_composed = [&](const Settings& settings, const LayerOptions& options, torch::ScalarType type) {
    const auto one = testing::value_and_gradients(as_one(options), settings, inputs_of(c), type);
    const auto many = testing::value_and_gradients(composed(options), settings, inputs_of(c), type);
    for (size_t i = 0; i < one.size(); ++i) EXPECT_TENSORS_CLOSE(one[i], many[i], testing::exact());
  };
  for (const LayerOptions& options : {irregular, far, no_activation}) expect_composed({}, options, torch::kFloat32);
  expect_composed({.kernels = false}, c.options, torch::kFloat32);
  expect_composed({.kernels = false}, c.options, torch::kFloat64);
}

TEST(TransformerLayer, RefusesWhatDoesNotFit) {
  const Case c = cases()[0];
  const std::vector<Tensor> in = inputs_of(c);
  const auto run = [&](const Tensor& x, const LayerWeights& weights, const LayerOptions& options) {
    for (const bool kernels : {true, false}) {
      EXPECT_THROW(transformer_layer({.kernels = kernels}, x, weights, options), base::Error);
    }
  };
  const auto with = [&](Tensor LayerWeights::*member, const Tensor& tensor) {
    LayerWeights weights = weights_of(in);
    weights.*member = tensor;
    return weights;
  };
  LayerOptions rotary = c.options, beyond = c.options;
  rotary.plain_attention = false;
  beyond.reads = {6, 1};
  run(in[0], weights_of(in), rotary);
  run(in[0], weights_of(in), beyond);
  run(in[0][0], weights_of(in), c.options);
  run(draw({3, 6, 23}, "x"), weights_of(in), c.options);
  run(in[0], with(&LayerWeights::qkv, draw({71, 24}, "w")), c.options);
  run(in[0], with(&LayerWeights::qkv_bias, draw({71}, "w")), c.options);
  run(in[0], with(&LayerWeights::out, draw({24, 25}, "w")), c.options);
  run(in[0], with(&LayerWeights::out_bias, draw({25}, "w")), c.options);
  run(in[0], with(&LayerWeights::attention_gamma, Tensor()), c.options);
  run(in[0], with(&LayerWeights::attention_beta, draw({25}, "w")), c.options);
  run(in[0], with(&LayerWeights::mlp_gamma, draw({25}, "w")), c.options);
  run(in[0], with(&LayerWeights::mlp_beta, draw({25}, "w")), c.options);
  LayerWeights down = weights_of(in), no_mlp = down, up_bias = down;
  down.down = draw({24, 255}, "w");
  up_bias.up_bias = draw({255}, "w");
  no_mlp.up = Tensor();
  for (const LayerWeights& weights : {down, up_bias, no_mlp}) run(in[0], weights, c.options);
}

TEST(TransformerLayer, AnyNumberOfThreadsGivesTheSameBits) {
  const int before = tensor::kernel_pool().size();
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.name);
    std::vector<std::vector<Tensor>> results;
    for (const int threads : {1, 3, 7}) {  // 7: more than there are groups
      tensor::set_kernel_threads(threads);
      results.push_back(testing::value_and_gradients(as_one(c.options), {}, inputs_of(c), torch::kFloat32));
    }
    for (size_t i = 0; i < results[0].size(); ++i) {
      EXPECT_TENSORS_CLOSE(results[1][i], results[0][i], testing::exact());
      EXPECT_TENSORS_CLOSE(results[2][i], results[0][i], testing::exact());
    }
  }
  tensor::set_kernel_threads(before);
}

TEST(TransformerLayer, GradientsByCentralDifferences) {
  for (const kernels::Reads& reads : {kernels::Reads{}, {0, 2}, {1, 2}}) {
    const Case small{"small", 2, 4, {.heads = {2, 1, 2}, .reads = reads}, true, 4, 5};
    EXPECT_GRADIENTS([&](const std::vector<Tensor>& in) { return as_one(small.options)({}, in); }, inputs_of(small),
                     testing::float_gradients({.absolute = 1e-2, .relative = 1e-2}));
  }
}

TEST(TransformerLayer, RetainedGraphGivesTheSameGradientTwice) {
  const Case c = cases()[3];
  std::vector<Tensor> in = inputs_of(c);
  for (Tensor& tensor : in) tensor.set_requires_grad(true);
  const Tensor loss = as_one(c.options)({}, in).square().sum();
  const auto first = torch::autograd::grad({loss}, in, {}, /*retain_graph=*/true);
  const auto second = torch::autograd::grad({loss}, in);
  for (size_t i = 0; i < in.size(); ++i) EXPECT_TENSORS_CLOSE(second[i], first[i], testing::exact());
  EXPECT_ANY_THROW(torch::autograd::grad({loss}, in));
}

TEST(TransformerLayer, IsTakenForTrainingWithSequencesEnough) {
  const Case c = cases()[2];
  std::vector<Tensor> in = inputs_of(c);
  const auto taken = [&](const Settings& settings, const LayerOptions& options) {
    return takes_transformer_layer(settings, in[0], weights_of(in), options);
  };
  EXPECT_FALSE(taken({}, c.options));  // no weight wants a gradient
  for (Tensor& tensor : in) tensor.set_requires_grad(true);
  EXPECT_TRUE(taken({}, c.options));
  EXPECT_TRUE(taken({.precision = Precision::bf16}, c.options));
  EXPECT_FALSE(taken({.kernels = false}, c.options));
  LayerOptions no_activation = c.options;
  no_activation.activation = Activation::none;
  EXPECT_FALSE(taken({}, no_activation));
  LayerOptions rotary = c.options, odd = c.options, last = c.options, third = c.options;
  rotary.plain_attention = false;
  odd.reads = {0, 4};  // 54 tokens
  last.reads = {53, 54};
  third.reads = {1, 3};
  EXPECT_FALSE(taken({}, rotary));
  EXPECT_FALSE(taken({}, odd));
  EXPECT_FALSE(taken({}, last));
  EXPECT_TRUE(taken({}, third));
  in[0] = in[0].slice(0, 0, 37);  // 1,998 rows
  EXPECT_FALSE(taken({}, c.options));
  in[0] = inputs_of(c)[0];
  in[5].set_requires_grad(false);
  EXPECT_FALSE(taken({}, c.options));
  in[5].set_requires_grad(true);
  const torch::NoGradGuard no_grad;
  EXPECT_FALSE(taken({}, c.options));
}

}  // namespace
}  // namespace incontext::ops

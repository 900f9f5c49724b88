// The decoder, its objective and its optimizer against states that tools/make_golden_decoder.py computed in PyTorch.

#include <gtest/gtest.h>

#include "base/config_node.h"
#include "models/prompt_model.h"
#include "support/tensor_close.h"
#include "tensor/safetensors.h"
#include "train/objectives/regression.h"
#include "train/optimizer.h"

namespace incontext::train {
namespace {

using base::Json;
using torch::Tensor;

struct Golden {
  tensor::SafetensorsFile file;
  Json config;

  explicit Golden(const std::string& name)
      : file(std::string(INCONTEXT_SOURCE_DIR) + "/tests/golden/decoder_" + name + ".safetensors"),
        config(Json::parse(file.metadata().at("config"))) {}

  models::DecoderOptions options() const {
    models::DecoderOptions options;
    options.width = config["width"];
    options.layers = config["layers"];
    options.attention.heads = config["heads"];
    options.attention.kv_heads = config["kv_heads"];
    options.norm.type = config["norm"] == "layer_norm" ? models::NormType::layer : models::NormType::rms;
    options.norm.epsilon = config["norm_epsilon"];
    options.position = *base::value_named<models::PositionType>(config["position"].get<std::string>());
    options.max_positions = 2 * config["points"].get<int64_t>();
    options.rope.theta = config["rotary_theta"];
    const auto gate_or_relu = config["activation"] == "relu" ? models::MlpType::relu : models::MlpType::gated;
    options.mlp.type = config["activation"] == "gelu_tanh" ? models::MlpType::gelu : gate_or_relu;
    options.mlp.width = config["mlp_width"];
    options.bias = config["biases"];
    if (config["looped"]) {
      options.loop = {.count = config["loops"],
                      .injection = *base::value_named<models::Injection>(config["injection"].get<std::string>())};
    }
    return options;
  }

  models::LoopRange loops() const { return loop_range(config["loops"], config["loss_window"]); }

  models::Decoder decoder() const {
    models::Decoder decoder(options(), config["dims"], 0, torch::kCPU);
    torch::NoGradGuard no_gradients;
    for (models::NamedTensor& parameter : decoder.parameters()) {
      parameter.tensor.copy_(file.tensor(parameter.name));
    }
    return decoder;
  }

  tasks::Batch batch() const { return {file.copy("xs"), file.copy("ys")}; }
};

// The golden values were computed in double and stored in fp32; ours are fp32 throughout, some layers deep.
constexpr testing::Tolerance kTolerance{.absolute = 2e-5, .relative = 2e-5};
constexpr testing::Tolerance kGradientTolerance{.absolute = 1e-4, .relative = 1e-4};

class GoldenDecoder : public ::testing::TestWithParam<std::tuple<std::string, bool>> {
 protected:
  Golden golden{std::get<0>(GetParam())};
  models::Decoder decoder = golden.decoder();
  tasks::Batch batch = golden.batch();

  void SetUp() override { decoder.operations().kernels = std::get<1>(GetParam()); }
};

TEST_P(GoldenDecoder, HiddenStates) {
  if (decoder.options().looped()) {
    // Y_t, by hand through the seam.
    const Tensor input = decoder.embed(models::interleave(batch.xs, batch.ys));
    EXPECT_TENSORS_CLOSE(input.detach(), golden.file.tensor("hidden.0"), kTolerance);
    const std::string injection = golden.config["injection"];
    Tensor iterate = injection == "none" ? input : torch::full_like(input, injection == "multiply" ? 1 : 0);
    for (int64_t loop = 1; loop <= golden.config["loops"].get<int64_t>(); ++loop) {
      const Tensor entered = injection == "add" ? iterate + input : injection == "multiply" ? iterate * input : iterate;
      iterate = decoder.final_norm(decoder.run_layers(entered, 0, decoder.options().layers));
      EXPECT_TENSORS_CLOSE(iterate.detach(), golden.file.tensor("hidden." + std::to_string(loop)), kTolerance);
    }
    return;
  }
  int64_t seen = 0;
  models::Step step;
  step.hook = [&](const models::Boundary& boundary, const Tensor& hidden) {
    Tensor expected = golden.file.tensor("hidden." + std::to_string(boundary.layer));
    if (boundary.layer == decoder.options().layers) expected = expected.slice(1, 0, expected.size(1), 2).contiguous();
    EXPECT_TENSORS_CLOSE(hidden.detach(), expected, kTolerance);
    ++seen;
  };
  models::predict(
      decoder, batch.xs, batch.ys, {}, [](int64_t, const Tensor&) {}, step);
  EXPECT_EQ(seen, decoder.options().layers + 1);
}

TEST_P(GoldenDecoder, PredictionsLossAndGradients) {
  Tensor last;
  models::predict(decoder, batch.xs, batch.ys, golden.loops(),
                  [&](int64_t, const Tensor& prediction) { last = prediction.detach(); });
  EXPECT_TENSORS_CLOSE(last, golden.file.tensor("predictions"), kTolerance);
  const Tensor loss = squared_error_objective(decoder, batch, golden.loops());
  EXPECT_TENSORS_CLOSE(loss.detach(), golden.file.tensor("loss"), kTolerance);
  loss.backward();
  for (const models::NamedTensor& parameter : decoder.parameters()) {
    SCOPED_TRACE(parameter.name);
    EXPECT_TENSORS_CLOSE(parameter.tensor.grad(), golden.file.tensor("grad." + parameter.name), kGradientTolerance);
  }
}

TEST_P(GoldenDecoder, TenAdamSteps) {
  Optimizer optimizer({}, decoder.parameters());
  const bool kernels = std::get<1>(GetParam());
  std::vector<float> losses;
  for (int64_t step = 1; step <= 11; ++step) {
    decoder.zero_gradients();
    const Tensor loss = squared_error_objective(decoder, batch, golden.loops());
    losses.push_back(loss.item<float>());
    loss.backward();
    optimizer.step(1e-3, 1, step, kernels);
  }
  // Adam divides small gradients by their own size, so rounding grows faster here than in a single pass.
  EXPECT_TENSORS_CLOSE(torch::tensor(losses), golden.file.tensor("adam_losses"),
                       (testing::Tolerance{.absolute = 2e-4, .relative = 2e-4}));
  EXPECT_LT(losses.back(), losses.front());
}

INSTANTIATE_TEST_SUITE_P(Cases, GoldenDecoder,
                         ::testing::Combine(::testing::Values("gpt2", "rms_rotary_relu", "gated", "looped_add",
                                                              "looped_multiply", "looped_none"),
                                            ::testing::Bool()),
                         [](const auto& tested) {
                           return std::get<0>(tested.param) + (std::get<1>(tested.param) ? "_kernels" : "_fallback");
                         });

}  // namespace
}  // namespace incontext::train

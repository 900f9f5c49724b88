// Training steps of tiny models of every family against gradients and losses that tools/make_golden_gradients.py
// computed with Hugging Face transformers.

#include <gtest/gtest.h>

#include "models/language_folder.h"
#include "support/language_pass.h"
#include "support/temporary_directory.h"
#include "support/tensor_close.h"
#include "tensor/safetensors.h"
#include "train/optimizer.h"

namespace incontext::train {
namespace {

using torch::Tensor;

std::filesystem::path gradients_folder() { return std::filesystem::path(INCONTEXT_SOURCE_DIR) / "tests/golden"; }

// Of an element, relative to the Euclidean norm of its tensor's gradient. Some gradients are zero but for rounding (of
// keys' biases, which move all scores of a query alike), and what they are sums of is as large as elsewhere: never less
// than a hundredth of the norm of all gradients.
constexpr double kGradientRelative = 1e-5;

double norm_of(const Tensor& tensor) { return tensor.norm().item<double>(); }

class GoldenGradients : public ::testing::TestWithParam<std::tuple<std::string, bool>> {
 protected:
  std::string name = std::get<0>(GetParam());
  std::filesystem::path folder = gradients_folder() / "language" / name;
  tensor::SafetensorsFile golden{gradients_folder() / "gradients" / (name + ".safetensors")};
  models::LanguageConfig config = models::read_language_config(folder);
  models::WeightFiles files{folder};
  models::Decoder decoder{config.options, 0, models::trained_weights(config, files, torch::kCPU), torch::kCPU};

  void SetUp() override { decoder.operations().kernels = std::get<1>(GetParam()); }

  // The gradients as the family's files would hold them if they were weights: queries, keys and values apart or with
  // others, transposed, by the family's names.
  tensor::NamedTensors gradients() {
    torch::NoGradGuard no_gradients;
    for (models::NamedTensor& parameter : decoder.parameters()) {
      const Tensor gradient = parameter.tensor.grad();
      EXPECT_TRUE(gradient.defined()) << parameter.name;
      if (gradient.defined()) parameter.tensor.copy_(gradient);
    }
    const testing::TemporaryDirectory written;
    models::save_language_folder(decoder, written.path(), {.family = config.model_type, .config = config.json});
    const tensor::SafetensorsFile file(written.path() / "model.safetensors");
    tensor::NamedTensors result;
    for (const std::string& tensor : file.names()) result[tensor] = file.copy(tensor);
    return result;
  }

  // The loss over these tokens and the gradient of every weight.
  void expect_golden_step(const Tensor& tokens) {
    const Tensor loss = testing::language_loss(decoder, tokens);
    EXPECT_TENSORS_CLOSE(loss.detach(), golden.tensor("loss"), (testing::Tolerance{.relative = kGradientRelative}));
    loss.backward();
    const tensor::NamedTensors actual = gradients();

    double squares = 0;
    for (const auto& [tensor, gradient] : actual) squares += std::pow(norm_of(gradient), 2);
    const double least_scale = 0.01 * std::sqrt(squares);
    size_t compared = 0;
    const auto compare = [&](const std::string& compared_name, const Tensor& gradient) {
      SCOPED_TRACE(compared_name);
      const Tensor expected = golden.tensor(compared_name);
      const double scale = std::max(norm_of(expected), least_scale);
      EXPECT_TENSORS_CLOSE(gradient, expected, (testing::Tolerance{.absolute = kGradientRelative * scale}));
      ++compared;
    };
    for (const auto& [tensor, gradient] : actual) {
      if (golden.contains("grad." + tensor)) {
        compare("grad." + tensor, gradient);
        continue;
      }
      // Folded in both directions.
      const Tensor signs = golden.tensor("signs");
      compare("rows." + tensor, gradient.mv(signs.narrow(0, 0, gradient.size(1))));
      compare("columns." + tensor, gradient.t().mv(signs.narrow(0, 0, gradient.size(0))));
    }
    const auto expected = std::count_if(golden.names().begin(), golden.names().end(), [](const std::string& tensor) {
      return tensor.starts_with("grad.") || tensor.starts_with("rows.") || tensor.starts_with("columns.");
    });
    EXPECT_EQ(compared, static_cast<size_t>(expected));
  }
};

TEST_P(GoldenGradients, LossAndGradientOfEveryWeight) { expect_golden_step(golden.tensor("tokens")); }

// The mean over each sequence many times is the same; the batch is large enough for GPT-2's and OPT's layers to be
// computed as one operation.
TEST_P(GoldenGradients, LossAndGradientOfEveryWeightInALargeBatch) {
  expect_golden_step(golden.tensor("tokens").repeat({22, 1}));
}

TEST_P(GoldenGradients, FiveStepsOfAdamW) {
  Optimizer optimizer({.name = UpdateRule::adamw, .weight_decay = 0.1}, decoder.parameters());
  std::vector<float> losses;
  for (int64_t step = 1; step <= 6; ++step) {
    decoder.zero_gradients();
    const Tensor loss = testing::language_loss(decoder, golden.tensor("tokens"));
    losses.push_back(loss.item<float>());
    loss.backward();
    optimizer.step(1e-3, 1, step, std::get<1>(GetParam()));
  }
  // Adam divides each gradient by its own size: where it is nothing but rounding, a weight goes one way or the other.
  EXPECT_TENSORS_CLOSE(torch::tensor(losses), golden.tensor("adamw_losses"),
                       (testing::Tolerance{.relative = 5 * kGradientRelative}));
}

std::vector<std::string> models_with_gradients() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(gradients_folder() / "language")) {
    if (entry.is_directory()) names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

INSTANTIATE_TEST_SUITE_P(Families, GoldenGradients,
                         ::testing::Combine(::testing::ValuesIn(models_with_gradients()), ::testing::Bool()),
                         [](const auto& tested) {
                           return std::get<0>(tested.param) + (std::get<1>(tested.param) ? "_kernels" : "_fallback");
                         });

}  // namespace
}  // namespace incontext::train

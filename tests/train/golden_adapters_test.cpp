// Low-rank adapters on frozen bf16 models against gradients and losses that tools/make_golden_gradients.py computed
// with Hugging Face transformers.

#include <gtest/gtest.h>

#include "base/digest.h"
#include "base/file.h"
#include "models/language_folder.h"
#include "support/language_pass.h"
#include "support/temporary_directory.h"
#include "support/tensor_close.h"
#include "tensor/safetensors.h"
#include "train/optimizer.h"

namespace incontext::train {
namespace {

using torch::Tensor;

std::filesystem::path golden_folder() { return std::filesystem::path(INCONTEXT_SOURCE_DIR) / "tests/golden"; }

// The same model with its weights rounded to bf16.
std::filesystem::path write_rounded(const std::filesystem::path& from, const std::filesystem::path& to) {
  const tensor::SafetensorsFile file(from / "model.safetensors");
  tensor::NamedTensors tensors;
  for (const std::string& name : file.names()) tensors[name] = file.tensor(name).to(torch::kBFloat16);
  tensor::write_safetensors(to / "model.safetensors", tensors);
  std::filesystem::copy_file(from / "config.json", to / "config.json");
  return to;
}

uint64_t digest_of(const Tensor& tensor) {
  const Tensor bytes = tensor.contiguous();
  return base::fnv1a({static_cast<const char*>(bytes.data_ptr()), bytes.nbytes()});
}

class GoldenAdapters : public ::testing::TestWithParam<std::tuple<std::string, bool>> {
 protected:
  testing::TemporaryDirectory directory;
  std::string name = std::get<0>(GetParam());
  std::filesystem::path folder = write_rounded(golden_folder() / "language" / name, directory.path());
  tensor::SafetensorsFile golden{golden_folder() / "gradients" / ("adapter_" + name + ".safetensors")};
  models::LanguageConfig config = models::read_language_config(folder);
  models::WeightFiles files{folder};
  models::Decoder decoder{config.options, 0, models::frozen_weights(config, files, torch::kCPU), torch::kCPU};
  // The parameters that are trained; the others are the base.
  std::vector<models::NamedTensor> factors;

  void SetUp() override {
    decoder.operations().kernels = std::get<1>(GetParam());
    for (int64_t layer = 0; layer < config.options.layers; ++layer) {
      for (const char* part : {"attention.q", "attention.v", "mlp.down"}) {
        decoder.add_adapter(fmt::format("layers.{}.{}", layer, part), /*rank=*/4, /*alpha=*/8, /*seed=*/1);
      }
    }
    torch::NoGradGuard no_gradients;
    for (models::NamedTensor& parameter : decoder.parameters()) {
      if (!parameter.tensor.requires_grad()) continue;
      factors.push_back(parameter);
      parameter.tensor.copy_(golden.tensor(parameter.name));
    }
  }

  Tensor loss() const { return testing::language_loss(decoder, golden.tensor("tokens")); }

  std::map<std::string, uint64_t> base_digests() const {
    std::map<std::string, uint64_t> digests;
    for (const models::NamedTensor& parameter : decoder.parameters()) {
      if (!parameter.tensor.requires_grad()) digests[parameter.name] = digest_of(parameter.tensor);
    }
    digests["the file"] = base::fnv1a(base::read_file(folder / "model.safetensors"));
    return digests;
  }
};

// Relative to the largest element of each gradient.
constexpr double kRelative = 1e-5;

TEST_P(GoldenAdapters, LossAndGradientsOfTheFactorsAlone) {
  const Tensor value = loss();
  EXPECT_TENSORS_CLOSE(value.detach(), golden.tensor("loss"), (testing::Tolerance{.relative = kRelative}));
  value.backward();
  ASSERT_EQ(factors.size(), 12U);
  for (const models::NamedTensor& factor : factors) {
    SCOPED_TRACE(factor.name);
    const Tensor expected = golden.tensor("grad." + factor.name);
    const double scale = expected.abs().max().item<double>();
    EXPECT_TENSORS_CLOSE(factor.tensor.grad(), expected, (testing::Tolerance{.absolute = kRelative * scale}));
  }
  for (const models::NamedTensor& parameter : decoder.parameters()) {
    EXPECT_EQ(parameter.tensor.grad().defined(), parameter.tensor.requires_grad()) << parameter.name;
  }
}

TEST_P(GoldenAdapters, FiveStepsOfAdamWLeaveTheBaseAlone) {
  for (const models::NamedTensor& parameter : decoder.parameters()) {
    if (parameter.tensor.requires_grad() || parameter.tensor.dim() < 2) continue;
    EXPECT_EQ(parameter.tensor.scalar_type(), torch::kBFloat16) << parameter.name;
    EXPECT_EQ(parameter.tensor.data_ptr(), models::find_weight(config, files, parameter.name).data_ptr())
        << parameter.name << " is not read where it lies in the file";
  }
  const std::map<std::string, uint64_t> before = base_digests();
  Optimizer optimizer({.name = UpdateRule::adamw, .weight_decay = 0.1}, factors);
  std::vector<float> losses;
  for (int64_t step = 1; step <= 6; ++step) {
    decoder.zero_gradients();
    const Tensor value = loss();
    losses.push_back(value.item<float>());
    value.backward();
    optimizer.step(1e-3, 1, step, std::get<1>(GetParam()));
  }
  EXPECT_TENSORS_CLOSE(torch::tensor(losses), golden.tensor("adamw_losses"),
                       (testing::Tolerance{.relative = kRelative}));
  EXPECT_EQ(base_digests(), before);
}

TEST_P(GoldenAdapters, RaggedStepsComputeWhatIsTrained) {
  const Tensor tokens = golden.tensor("tokens")[0].contiguous();
  const std::vector<int64_t> ids(tokens.data_ptr<int64_t>(), tokens.data_ptr<int64_t>() + tokens.numel());
  const testing::States whole = testing::states_of(decoder, ids, false),
                        ragged = testing::states_of(decoder, ids, true);
  EXPECT_TENSORS_CLOSE(ragged.logits, whole.logits, (testing::Tolerance{.absolute = 2e-5, .relative = 2e-5}));
}

INSTANTIATE_TEST_SUITE_P(Families, GoldenAdapters,
                         ::testing::Combine(::testing::Values("opt", "qwen3"), ::testing::Bool()),
                         [](const auto& tested) {
                           return std::get<0>(tested.param) + (std::get<1>(tested.param) ? "_kernels" : "_fallback");
                         });

}  // namespace
}  // namespace incontext::train

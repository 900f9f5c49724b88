// What training an adapter on a frozen model in 16 bits takes in memory.

#include <gtest/gtest.h>
#include <malloc.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "models/language_folder.h"
#include "support/language_pass.h"
#include "support/temporary_directory.h"

namespace incontext::models {
namespace {

// Bytes of memory that is the process's own: mapped files are not in it.
int64_t private_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    const std::string key = "RssAnon:";
    if (line.starts_with(key)) return std::stoll(line.substr(key.size())) * 1024;
  }
  return -1;
}

// The most private memory between its construction and peak().
class MemoryWatch {
 public:
  MemoryWatch()
      : watch_([this](const std::stop_token& stop) {
          while (!stop.stop_requested()) {
            most_ = std::max<int64_t>(most_, private_bytes());
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
          }
        }) {}
  int64_t peak() {
    watch_.request_stop();
    watch_.join();
    return std::max<int64_t>(most_, private_bytes());
  }

 private:
  std::atomic<int64_t> most_ = 0;
  std::jthread watch_;
};

constexpr const char* kQwen3 = R"({"model_type": "qwen3", "hidden_size": 512, "intermediate_size": 1536,
    "num_hidden_layers": 12, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 64, "vocab_size": 8192,
    "tie_word_embeddings": false})";
constexpr const char* kOpt = R"({"model_type": "opt", "hidden_size": 512, "ffn_dim": 2048, "num_hidden_layers": 12,
    "num_attention_heads": 8, "vocab_size": 16384, "max_position_embeddings": 512, "word_embed_proj_dim": 512})";

class FrozenMemory : public ::testing::TestWithParam<const char*> {};

TEST_P(FrozenMemory, AnAdapterTrainsWithoutAnFp32CopyOfItsBase) {
#ifdef INCONTEXT_SANITIZED
  GTEST_SKIP() << "sanitizers keep memory of their own";
#endif
  ASSERT_GE(private_bytes(), 0) << "/proc/self/status tells RssAnon since Linux 4.5";
  const testing::TemporaryDirectory folder;
  std::ofstream(folder.path() / "config.json") << GetParam();
  const LanguageConfig config = read_language_config(folder.path());
  int64_t elements = 0;
  {
    Decoder random(config.options, 0, /*seed=*/1, torch::kCPU);
    for (NamedTensor& parameter : random.parameters()) parameter.stored = torch::kBFloat16;
    save_language_folder(random, folder.path(), {.family = config.model_type, .config = config.json});
    elements = random.parameter_count();
  }
  ASSERT_GT(elements, 40'000'000);
  // Otherwise what was freed here would be taken again unseen.
  malloc_trim(0);

  const int64_t before = private_bytes();
  MemoryWatch watch;
  const WeightFiles files(folder.path());
  Decoder decoder(config.options, 0, frozen_weights(config, files, torch::kCPU), torch::kCPU);
  for (const char* part : {"attention.q", "attention.v", "mlp.down"}) {
    for (int64_t layer = 0; layer < config.options.layers; ++layer) {
      decoder.add_adapter(fmt::format("layers.{}.{}", layer, part), /*rank=*/4, /*alpha=*/8, /*seed=*/1);
    }
  }
  const torch::Tensor loss = testing::language_loss(decoder, torch::arange(2 * 17).view({2, 17}));
  loss.backward();
  const int64_t grown = watch.peak() - before;

  for (const NamedTensor& parameter : decoder.parameters()) {
    EXPECT_EQ(parameter.tensor.grad().defined(), parameter.name.find(".lora_") != std::string::npos) << parameter.name;
  }
  // Of the copy's four bytes for each element. What is left is activations, adapters, and blocks of weights on their
  // way through the products.
  EXPECT_LT(grown, 4 * elements / 4) << "bytes, with a base of " << elements << " elements";
}

INSTANTIATE_TEST_SUITE_P(Families, FrozenMemory, ::testing::Values(kQwen3, kOpt),
                         [](const auto& tested) { return tested.param == kOpt ? "opt" : "qwen3"; });

}  // namespace
}  // namespace incontext::models

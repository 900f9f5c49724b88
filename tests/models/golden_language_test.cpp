// Tiny models of every family against states that tools/make_golden_language.py computed with Hugging Face
// transformers.

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "models/json_fields.h"
#include "models/language_model.h"
#include "support/errors.h"
#include "support/language_pass.h"
#include "support/temporary_directory.h"
#include "support/tensor_close.h"
#include "tensor/device.h"
#include "tensor/safetensors.h"

namespace incontext::models {
namespace {

using torch::Tensor;

struct Golden {
  std::filesystem::path folder;
  tensor::SafetensorsFile states;
  std::vector<int64_t> prompt, continuation;

  explicit Golden(const std::string& name)
      : folder(std::filesystem::path(INCONTEXT_SOURCE_DIR) / "tests/golden/language" / name),
        states(folder / "golden.safetensors") {
    std::ifstream file(folder / "golden.json");
    const base::Json json = base::Json::parse(file);
    prompt = json["prompt"].get<std::vector<int64_t>>();
    continuation = json["continuation"].get<std::vector<int64_t>>();
  }
  std::vector<int64_t> beginning(size_t count) const {
    std::vector<int64_t> tokens = prompt;
    tokens.insert(tokens.end(), continuation.begin(), continuation.end());
    tokens.resize(count);
    return tokens;
  }
};

struct Pass {
  std::vector<Tensor> hidden;
  Tensor logits;
};

using kernels::Precision;
using Case = std::tuple<std::string, bool, Precision>;

class GoldenLanguage : public ::testing::TestWithParam<Case> {
 protected:
  Golden golden{std::get<0>(GetParam())};
  LanguageModel model{
      golden.folder, torch::kCPU, {.kernels = std::get<1>(GetParam()), .precision = std::get<2>(GetParam())}};

  cache::SequenceState new_state() const {
    cache::SequenceState state;
    state.cache = cache::make_cache({.kind = "full", .words = {"f32"}}, model.cache_shape(64));
    return state;
  }

  Pass run(cache::SequenceState& state, const std::vector<int64_t>& tokens) const { return run(model, state, tokens); }

  LanguageModel golden_kernels() const { return LanguageModel(golden.folder); }

  static Pass run(const LanguageModel& model, cache::SequenceState& state, const std::vector<int64_t>& tokens) {
    Pass result;
    Step step;
    step.sequences = {{&state, static_cast<int64_t>(tokens.size())}};
    step.hook = [&](const Boundary&, Tensor& hidden) { result.hidden.push_back(hidden.clone()); };
    std::vector<int64_t> read(tokens.size());
    for (size_t i = 0; i < read.size(); ++i) read[i] = static_cast<int64_t>(i);
    result.logits = model.logits(tokens, step, read);
    return result;
  }
};

constexpr testing::Tolerance kTolerance{.absolute = 2e-4, .relative = 2e-4};

TEST_P(GoldenLanguage, HiddenStatesAndLogits) {
  cache::SequenceState state = new_state();
  const Pass whole = run(state, golden.prompt);
  const int64_t layers = model.config().options.layers;
  ASSERT_EQ(static_cast<int64_t>(whole.hidden.size()), layers + 1);
  for (int64_t layer = 0; layer < layers; ++layer) {
    SCOPED_TRACE("before layer " + std::to_string(layer));
    EXPECT_TENSORS_CLOSE(whole.hidden[static_cast<size_t>(layer)],
                         golden.states.tensor("hidden." + std::to_string(layer)), kTolerance);
  }
  EXPECT_TENSORS_CLOSE(whole.hidden.back(), golden.states.tensor("last_layer"), kTolerance);
  EXPECT_TENSORS_CLOSE(whole.logits, golden.states.tensor("logits"), kTolerance);
  EXPECT_EQ(state.cache->length(), static_cast<int64_t>(golden.prompt.size()));
}

// One forward in several forms sums in several orders; relative to the largest state.
void expect_same_states(const Tensor& actual, const Tensor& expected) {
  const double largest = expected.abs().max().item<double>();
  EXPECT_TENSORS_CLOSE(actual, expected, (testing::Tolerance{.absolute = 2e-5 * largest}));
}

// Training runs whole sequences, with queries, keys and values as one matrix; serving runs ragged steps.
TEST_P(GoldenLanguage, WholeSequencesGiveTheStatesOfRaggedOnes) {
  Decoder trained(model.config().options, 0, trained_weights(model.config(), WeightFiles(golden.folder), torch::kCPU),
                  torch::kCPU);
  trained.operations() = model.decoder().operations();
  for (const size_t count : {size_t{1}, golden.prompt.size(), golden.prompt.size() + golden.continuation.size()}) {
    const std::vector<int64_t> tokens = golden.beginning(count);
    const testing::States expected = testing::states_of(model.decoder(), tokens, /*ragged=*/true);
    const auto expect_same = [&](const char* what, const Decoder& decoder, bool ragged) {
      SCOPED_TRACE(fmt::format("{} of {} tokens", what, count));
      const testing::States actual = testing::states_of(decoder, tokens, ragged);
      ASSERT_EQ(actual.hidden.size(), expected.hidden.size());
      for (size_t layer = 0; layer < actual.hidden.size(); ++layer) {
        expect_same_states(actual.hidden[layer], expected.hidden[layer]);
      }
      expect_same_states(actual.logits, expected.logits);
    };
    expect_same("frozen, whole", model.decoder(), false);
    expect_same("trained, whole", trained, false);
    expect_same("trained, ragged", trained, true);
  }
}

TEST_P(GoldenLanguage, GreedyContinuation) {
  cache::SequenceState state = new_state();
  std::vector<int64_t> next = golden.prompt, continuation;
  std::vector<Tensor> rows;
  while (continuation.size() < golden.continuation.size()) {
    const std::vector<int64_t> all = golden.beginning(golden.prompt.size() + continuation.size());
    if (state.rope_epoch && state.rope_epoch != model.rope_epoch(static_cast<int64_t>(all.size()))) {
      EXPECT_CONTAINS(testing::error_of([&] { run(state, next); }), "has outgrown the rotary factors");
      state = new_state();
      next = all;
    }
    rows.push_back(run(state, next).logits.slice(0, -1));
    next = {rows.back().argmax().item<int64_t>()};
    continuation.push_back(next[0]);
  }
  EXPECT_EQ(continuation, golden.continuation);
  EXPECT_TENSORS_CLOSE(torch::cat(rows), golden.states.tensor("continued_logits"), kTolerance);
}

// What only our kernels promise: the bits of a token do not depend on what it is computed with.
class GoldenBits : public GoldenLanguage {};

TEST_P(GoldenBits, PartsOfAPromptGiveTheSameBitsAsTheWhole) {
  cache::SequenceState whole_state = new_state();
  const Tensor whole = run(whole_state, golden.prompt).logits;
  for (const size_t part : {size_t{1}, size_t{7}}) {
    cache::SequenceState state = new_state();
    state.rope_epoch = model.rope_epoch(static_cast<int64_t>(golden.prompt.size()));
    std::vector<Tensor> rows;
    for (size_t first = 0; first < golden.prompt.size(); first += part) {
      const size_t last = std::min(first + part, golden.prompt.size());
      rows.push_back(run(state, {golden.prompt.begin() + static_cast<std::ptrdiff_t>(first),
                                 golden.prompt.begin() + static_cast<std::ptrdiff_t>(last)})
                         .logits);
    }
    EXPECT_TRUE(torch::equal(torch::cat(rows), whole)) << "parts of " << part;
  }
}

TEST_P(GoldenBits, NeighboursInABatchChangeNoBit) {
  cache::SequenceState alone_state = new_state();
  const Tensor alone = run(alone_state, golden.prompt).logits;
  const std::vector<int64_t> other(golden.prompt.rbegin(), golden.prompt.rend());
  std::vector<int64_t> tokens = other;
  tokens.insert(tokens.end(), golden.prompt.begin(), golden.prompt.end());
  tokens.insert(tokens.end(), {3, 4, 5});
  for (const int threads : {1, 2, 3}) {
    tensor::set_kernel_threads(threads);
    cache::SequenceState states[3] = {new_state(), new_state(), new_state()};
    Step step;
    const auto count = static_cast<int64_t>(other.size());
    step.sequences = {{&states[0], count}, {&states[1], count}, {&states[2], 3}};
    std::vector<int64_t> read;
    for (int64_t i = 0; i < count; ++i) read.push_back(count + i);
    EXPECT_TRUE(torch::equal(model.logits(tokens, step, read), alone)) << threads << " threads";
  }
}

class GoldenRounded : public GoldenLanguage {};

// Rounding activations is what --precision bf16 does, and it does it: near the exact logits, never on them, and where
// libtorch's products of rounded factors are. (A sum that lies on the edge between two bf16 may go either way.)
TEST_P(GoldenRounded, LogitsAreThoseOfRoundedActivations) {
  const LanguageModel composed(golden.folder, torch::kCPU, {.kernels = false, .precision = Precision::bf16});
  cache::SequenceState state = new_state(), composed_state = new_state();
  const Tensor logits = run(state, golden.prompt).logits;
  const Tensor expected = run(composed, composed_state, golden.prompt).logits;
  const Tensor exact = golden.states.tensor("logits");
  const double distance = (logits - exact).norm().item<double>() / exact.norm().item<double>();
  EXPECT_GT(distance, 2e-4);
  EXPECT_LT(distance, 2e-2);
  EXPECT_LT((logits - expected).norm().item<double>(), 0.5 * (logits - exact).norm().item<double>());
}

// Saving what was opened gives back the same tensors, in the same types.
TEST_P(GoldenLanguage, SavesWhatItOpened) {
  const testing::TemporaryDirectory folder;
  model.save(folder.path());
  const WeightFiles before(golden.folder), after(folder.path());
  EXPECT_EQ(read_json(folder / "config.json")["model_type"], model.config().model_type);
  int64_t same = 0;
  for (const std::string& name : before.unread()) {
    if (!after.contains(name)) {
      EXPECT_TRUE(is_not_a_parameter(name)) << name;
      continue;
    }
    const Tensor was = before.tensor(name), is = after.tensor(name);
    EXPECT_TRUE(was.scalar_type() == is.scalar_type() && torch::equal(was, is)) << name;
    ++same;
  }
  EXPECT_GT(same, 10);
  EXPECT_TRUE(after.unread().empty()) << after.unread()[0];
  const LanguageModel again(folder.path());
  cache::SequenceState state = new_state(), other = new_state();
  EXPECT_TRUE(
      torch::equal(run(again, state, golden.prompt).logits, run(golden_kernels(), other, golden.prompt).logits));
}

TEST_P(GoldenLanguage, EveryTensorIsUsed) { EXPECT_EQ(model.unread(), std::vector<std::string>()); }

std::string name_of(const ::testing::TestParamInfo<Case>& tested) {
  return std::get<0>(tested.param) + (std::get<1>(tested.param) ? "_kernels" : "_fallback") +
         (std::get<2>(tested.param) == Precision::bf16 ? "_bf16" : "");
}

const std::vector<std::string> kModels = {"gpt2",
                                          "gpt2_scaled",
                                          "gpt2_unscaled",
                                          "llama2",
                                          "llama31",
                                          "llama_biases",
                                          "llama_yarn",
                                          "llama_dynamic",
                                          "llama_dynamic_long",
                                          "mistral",
                                          "mistral_layer_types",
                                          "opt",
                                          "opt_post_norm",
                                          "phi3",
                                          "phi3_crossing",
                                          "phi3_long_long",
                                          "phi3_long_short",
                                          "qwen2",
                                          "qwen2_layer_types",
                                          "qwen2_window",
                                          "qwen3"};

INSTANTIATE_TEST_SUITE_P(Families, GoldenLanguage,
                         ::testing::Combine(::testing::ValuesIn(kModels), ::testing::Bool(),
                                            ::testing::Values(Precision::f32)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Families, GoldenRounded,
                         ::testing::Combine(::testing::ValuesIn(kModels), ::testing::Values(true),
                                            ::testing::Values(Precision::bf16)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Families, GoldenBits,
                         ::testing::Combine(::testing::ValuesIn(kModels), ::testing::Values(true),
                                            ::testing::Values(Precision::f32, Precision::bf16)),
                         name_of);
}  // namespace
}  // namespace incontext::models

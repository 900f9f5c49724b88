// Every type of rotary positions through the engine, against what tools/make_golden_language.py computed with Hugging
// Face transformers: of the prompt in one pass, and of each token of the continuation in a pass over all before it.

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "decode/engine.h"
#include "support/tensor_close.h"
#include "tensor/device.h"
#include "tensor/safetensors.h"

namespace incontext::decode {
namespace {

using torch::Tensor;

struct RopeOutcome {
  std::vector<int64_t> tokens;
  std::vector<double> logprobs, prompt_logprobs;
  int64_t reused = 0;
  int prompt_parts = 0;

  bool operator==(const RopeOutcome& other) const {
    return tokens == other.tokens && logprobs == other.logprobs && prompt_logprobs == other.prompt_logprobs;
  }
};

class RopeEngine : public ::testing::TestWithParam<std::string> {
 protected:
  std::filesystem::path folder = std::filesystem::path(INCONTEXT_SOURCE_DIR) / "tests/golden/language" / GetParam();
  models::LanguageModel model{folder};
  tensor::SafetensorsFile states{folder / "golden.safetensors"};
  std::vector<int64_t> prompt = golden("prompt"), continuation = golden("continuation");
  // Three parts for the golden prompt.
  EngineOptions parts{.prompt_part = 10, .prompt_part_while_decoding = 10};

  RopeEngine() { tensor::set_kernel_threads(1); }  // so little work is slower with more

  std::vector<int64_t> golden(const char* key) const {
    std::ifstream file(folder / "golden.json");
    return base::Json::parse(file)[key].get<std::vector<int64_t>>();
  }
  GenerationRequest request(bool scored = false) const {
    GenerationRequest request;
    request.prompt = prompt;
    request.max_tokens = static_cast<int64_t>(continuation.size());
    request.sampling.temperature = 0;
    request.policy = cache::parse_policy("full:f32");
    request.top_logprobs = 0;
    request.prompt_logprobs = scored;
    return request;
  }
  static GenerationEvents record(RopeOutcome& outcome) {
    return {.on_prompt =
                [&](int64_t, int64_t reused) {
                  ++outcome.prompt_parts;
                  outcome.reused = reused;
                },
            .on_prompt_scores =
                [&](const std::vector<Choice>& scores) {
                  for (const Choice& each : scores) outcome.prompt_logprobs.push_back(each.logprob);
                },
            .on_token =
                [&](const Choice& choice) {
                  outcome.tokens.push_back(choice.token);
                  outcome.logprobs.push_back(choice.logprob);
                  return true;
                },
            .on_end = [](Finish finish, const std::string& error) { EXPECT_EQ(finish, Finish::length) << error; }};
  }
  static RopeOutcome run(Engine& engine, GenerationRequest request) {
    RopeOutcome outcome;
    engine.submit(std::move(request), record(outcome));
    engine.finish();
    return outcome;
  }
  // The golden sequence's first `count` tokens.
  std::vector<int64_t> beginning(size_t count) const {
    std::vector<int64_t> tokens = prompt;
    tokens.insert(tokens.end(), continuation.begin(), continuation.end());
    tokens.resize(count);
    return tokens;
  }
  void expect_logprobs(const std::vector<double>& actual, const Tensor& logits, const std::vector<int64_t>& tokens) {
    ASSERT_EQ(actual.size(), tokens.size());
    const Tensor all = logits.slice(0, 0, static_cast<int64_t>(tokens.size())).to(torch::kFloat64).log_softmax(1);
    const Tensor expected = all.gather(1, torch::tensor(tokens, torch::kInt64).unsqueeze(1)).squeeze(1);
    EXPECT_TENSORS_CLOSE(torch::tensor(actual, torch::kFloat64).to(torch::kFloat32), expected.to(torch::kFloat32),
                         (testing::Tolerance{.absolute = 2e-4, .relative = 2e-4}));
  }
  void expect_golden(const RopeOutcome& outcome) {
    EXPECT_EQ(outcome.tokens, continuation);
    expect_logprobs(outcome.logprobs, states.tensor("continued_logits"), continuation);
  }
};

TEST_P(RopeEngine, PromptsOfThreePartsAreTheGoldenPass) {
  Engine engine(model, parts);
  const RopeOutcome outcome = run(engine, request(/*scored=*/true));
  EXPECT_EQ(outcome.prompt_parts, 3);
  expect_golden(outcome);
  expect_logprobs(outcome.prompt_logprobs, states.tensor("logits"), {prompt.begin() + 1, prompt.end()});
  Engine whole(model, {});
  EXPECT_EQ(run(whole, request(/*scored=*/true)), outcome);
}

TEST_P(RopeEngine, WhatWasServedBeforeChangesNothing) {
  Engine fresh(model, parts);
  const RopeOutcome expected = run(fresh, request());
  expect_golden(expected);
  // Others' caches hold a beginning of the prompt, the prompt, and much more, at lengths on both sides of every bound.
  for (const size_t before : {17U, 20U, 24U, 30U, 36U, 48U}) {
    SCOPED_TRACE(before);
    Engine engine(model, parts);
    GenerationRequest other = request();
    other.prompt = beginning(before);
    other.max_tokens = 3;
    run(engine, other);
    for (int repeat = 0; repeat < 2; ++repeat) EXPECT_EQ(run(engine, request()), expected);
    other.prompt = beginning(before);  // and the other way round
    Engine alone(model, {.prefix_memory = 0});
    EXPECT_EQ(run(engine, other), run(alone, other));
  }
}

TEST_P(RopeEngine, SoDoNeighbours) {
  Engine fresh(model, parts);
  const RopeOutcome expected = run(fresh, request());
  Engine engine(model, {.max_batch = 5, .prompt_part = 16, .prompt_part_while_decoding = 7});
  std::vector<RopeOutcome> outcomes(7), others(7);
  for (size_t index = 0; index < outcomes.size(); ++index) {
    GenerationRequest other = request();
    other.prompt.assign(prompt.rbegin(), prompt.rend() - static_cast<std::ptrdiff_t>(2 * index));
    engine.submit(other, record(others[index]));
    engine.submit(request(), record(outcomes[index]));
    for (size_t steps = 0; steps < index; ++steps) engine.step();
  }
  engine.finish();
  for (const RopeOutcome& outcome : outcomes) EXPECT_EQ(outcome, expected);
  for (size_t index = 0; index < others.size(); ++index) {
    Engine alone(model, {.prefix_memory = 0});
    GenerationRequest other = request();
    other.prompt.assign(prompt.rbegin(), prompt.rend() - static_cast<std::ptrdiff_t>(2 * index));
    EXPECT_EQ(others[index], run(alone, other)) << index;
  }
}

TEST_P(RopeEngine, ComputesAgainOnlyWhereFactorsChange) {
  // Passes over 25 to 55 tokens give tokens 2 to 32 of the continuation; all but the newest are computed again.
  const std::map<std::string, int64_t> expected = {
      {"phi3_crossing", 32}, {"llama_dynamic", (40 + 54) * 15 / 2}, {"llama_dynamic_long", (24 + 54) * 31 / 2}};
  Engine engine(model, parts);
  run(engine, request());
  const auto found = expected.find(GetParam());
  EXPECT_EQ(engine.status().recomputed_tokens, found == expected.end() ? 0 : found->second);
  EXPECT_EQ(engine.status().prompt_tokens, static_cast<int64_t>(prompt.size()));
  EXPECT_EQ(engine.status().generated_tokens, static_cast<int64_t>(continuation.size()));
}

TEST_P(RopeEngine, BeginningsAreReusedWithinAnEpoch) {
  Engine engine(model, parts);
  GenerationRequest shorter = request();
  shorter.max_tokens = 1;
  run(engine, shorter);
  EXPECT_EQ(run(engine, shorter).reused, static_cast<int64_t>(prompt.size()) - 1);
  // A sequence that ends with more tokens than the prompt serves it where both have the same factors.
  Engine other(model, parts);
  run(other, request());
  const bool same = model.rope_epoch(55) == model.rope_epoch(24);
  EXPECT_EQ(run(other, shorter).reused, same ? static_cast<int64_t>(prompt.size()) - 1 : 0);
}

INSTANTIATE_TEST_SUITE_P(Types, RopeEngine,
                         ::testing::Values("llama2", "llama_biases", "llama31", "llama_yarn", "llama_dynamic",
                                           "llama_dynamic_long", "qwen2_window", "phi3_long_short", "phi3_long_long",
                                           "phi3_crossing"),
                         [](const auto& tested) { return tested.param; });

}  // namespace
}  // namespace incontext::decode

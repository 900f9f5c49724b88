// A real instruct model, SmolLM2-135M, where its folder is at hand: it answers like transformers
// (tools/make_golden_smollm2.py).

#include <gtest/gtest.h>

#include <fstream>

#include "decode/engine.h"
#include "support/shared_model.h"

namespace incontext::decode {
namespace {

namespace fs = std::filesystem;
using base::Json;

class SmolLm2 : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!testing::has_smollm2()) GTEST_SKIP() << testing::without_smollm2();
    folder = testing::smollm2();
    std::ifstream file(std::string(INCONTEXT_SOURCE_DIR) + "/tests/golden/smollm2.json");
    golden = Json::parse(file);
  }

  fs::path folder;
  Json golden;
};

TEST_F(SmolLm2, AnswersLikeTransformers) {
  const models::LanguageModel model(folder);
  for (const auto& [policy, tolerance] : {std::pair{"full:f32", 2e-4}, {"full", 5e-3}}) {
    SCOPED_TRACE(policy);
    Engine engine(model, {});
    struct Answer {
      std::vector<int64_t> tokens;
      std::vector<double> logprobs;
    };
    std::vector<Answer> answers(golden["cases"].size());
    for (size_t i = 0; i < answers.size(); ++i) {
      GenerationRequest request;
      request.prompt = golden["cases"][i]["prompt"].get<std::vector<int64_t>>();
      request.max_tokens = 24;
      request.sampling.temperature = 0;
      request.top_logprobs = 0;
      request.policy = cache::parse_policy(policy);
      engine.submit(std::move(request), {.on_token = [&answer = answers[i]](const Choice& choice) {
                      answer.tokens.push_back(choice.token);
                      answer.logprobs.push_back(choice.logprob);
                      return true;
                    }});
    }
    engine.finish();
    for (size_t i = 0; i < answers.size(); ++i) {
      SCOPED_TRACE(i);
      EXPECT_EQ(answers[i].tokens, golden["cases"][i]["tokens"].get<std::vector<int64_t>>());
      const auto expected = golden["cases"][i]["logprobs"].get<std::vector<double>>();
      for (size_t t = 0; t < expected.size(); ++t) EXPECT_NEAR(answers[i].logprobs[t], expected[t], tolerance) << t;
    }
  }
}

}  // namespace
}  // namespace incontext::decode

#include "decode/engine.h"

#include <gtest/gtest.h>

#include <fstream>
#include <thread>

#include "support/errors.h"

namespace incontext::decode {
namespace {

using testing::error_of;

struct Outcome {
  std::vector<int64_t> tokens;
  std::vector<double> prompt_logprobs;
  std::vector<std::pair<int64_t, int64_t>> prompt_parts;  // done, reused
  int ends = 0;
  Finish finish = Finish::error;
  std::string error;
};

class EngineTest : public ::testing::Test {
 protected:
  std::filesystem::path folder = std::filesystem::path(INCONTEXT_SOURCE_DIR) / "tests/golden/language/llama2";
  models::LanguageModel model{folder};
  std::vector<int64_t> prompt = golden("prompt"), continuation = golden("continuation");

  std::vector<int64_t> golden(const char* key) const {
    std::ifstream file(folder / "golden.json");
    return base::Json::parse(file)[key].get<std::vector<int64_t>>();
  }
  GenerationRequest request(int64_t max_tokens) const {
    GenerationRequest request;
    request.prompt = prompt;
    request.max_tokens = max_tokens;
    request.sampling.temperature = 0;
    return request;
  }
  static GenerationEvents record(Outcome& outcome) {
    return {.on_prompt = [&](int64_t done, int64_t reused) { outcome.prompt_parts.emplace_back(done, reused); },
            .on_prompt_scores =
                [&](const std::vector<Choice>& scores) {
                  for (const Choice& each : scores) outcome.prompt_logprobs.push_back(each.logprob);
                },
            .on_token =
                [&](const Choice& choice) {
                  outcome.tokens.push_back(choice.token);
                  return true;
                },
            .on_end =
                [&](Finish finish, const std::string& error) {
                  ++outcome.ends;
                  outcome.finish = finish;
                  outcome.error = error;
                }};
  }
  Outcome run(Engine& engine, GenerationRequest request) const {
    Outcome outcome;
    engine.submit(std::move(request), record(outcome));
    engine.finish();
    EXPECT_EQ(outcome.ends, 1);
    return outcome;
  }
  // Other prompts than the golden one, all different.
  std::vector<int64_t> other_prompt(int64_t index) const {
    std::vector<int64_t> tokens;
    for (int64_t i = 0; i < 5 + 3 * index; ++i) tokens.push_back((7 * index + 11 * i + 3) % 96);
    return tokens;
  }
};

TEST_F(EngineTest, ContinuesAsTheReferenceDoes) {
  Engine engine(model, {});
  const Outcome outcome = run(engine, request(32));
  EXPECT_EQ(outcome.tokens, continuation);
  EXPECT_EQ(outcome.finish, Finish::length);
  EXPECT_EQ(engine.status().running, 0);
  EXPECT_EQ(engine.status().generated_tokens, 32);
}

// The token that would end the text is not chosen before its time, and the model goes on with the next best.
TEST_F(EngineTest, HoldsBackTheEnd) {
  Engine engine(model, {});
  GenerationRequest plain = request(6);
  plain.stop_ids = {continuation[0]};
  EXPECT_TRUE(run(engine, plain).tokens.empty());
  for (const bool watched : {false, true}) {
    GenerationRequest late = request(6);
    (watched ? late.late_ids : late.stop_ids) = {continuation[0]};
    late.min_tokens = 3;
    const Outcome outcome = run(engine, late);
    ASSERT_GE(outcome.tokens.size(), 3u);
    for (size_t i = 0; i < 3; ++i) EXPECT_NE(outcome.tokens[i], continuation[0]);
  }
  // Also where that is every token there is.
  for (const double temperature : {0.0, 1.0}) {
    GenerationRequest none = request(2);
    none.min_tokens = 2;
    none.sampling.temperature = temperature;
    for (int64_t token = -1; token <= model.config().options.tokens.vocabulary; ++token) none.late_ids.push_back(token);
    const Outcome outcome = run(engine, none);
    EXPECT_EQ(outcome.error, "");
    EXPECT_EQ(outcome.tokens.size(), 2u);
  }
}

TEST_F(EngineTest, ManyAtOnceGetWhatEachGetsAlone) {
  constexpr int64_t kOthers = 9;
  std::vector<Outcome> alone(kOthers), together(kOthers);
  const auto sampled = [&](int64_t index) {
    GenerationRequest each;
    each.prompt = other_prompt(index);
    each.max_tokens = 10 + index;
    each.sampling.temperature = 0.8;
    each.sampling.top_p = 0.9;
    each.sampling.seed = static_cast<uint64_t>(index);
    return each;
  };
  for (int64_t index = 0; index < kOthers; ++index) {
    Engine engine(model, {.prefix_memory = 0});
    alone[static_cast<size_t>(index)] = run(engine, sampled(index));
  }
  Engine engine(model, {.max_batch = 4, .prompt_part = 8, .prompt_part_while_decoding = 3, .prefix_memory = 0});
  for (int64_t index = 0; index < kOthers; ++index) {
    engine.submit(sampled(index), record(together[static_cast<size_t>(index)]));
    engine.step();
  }
  engine.finish();
  for (size_t index = 0; index < kOthers; ++index) EXPECT_EQ(together[index].tokens, alone[index].tokens) << index;
}

TEST_F(EngineTest, PrefixesAreReusedAndChangeNothing) {
  Engine engine(model, {});
  const Outcome first = run(engine, request(12));
  EXPECT_EQ(first.prompt_parts.back().second, 0);
  const Outcome second = run(engine, request(12));
  EXPECT_EQ(second.tokens, first.tokens);
  EXPECT_EQ(second.prompt_parts.back().second, static_cast<int64_t>(prompt.size()) - 1);
  GenerationRequest longer = request(3);
  longer.prompt.insert(longer.prompt.end(), {4, 5, 6});
  const Outcome third = run(engine, longer);
  EXPECT_EQ(third.prompt_parts.back().second, static_cast<int64_t>(prompt.size()));
  Engine fresh(model, {.prefix_memory = 0});
  EXPECT_EQ(run(fresh, longer).tokens, third.tokens);
  GenerationRequest other_policy = request(3);
  other_policy.policy = cache::parse_policy("full:f32");
  EXPECT_EQ(run(engine, other_policy).prompt_parts.back().second, 0);
}

TEST_F(EngineTest, SeveralContinuationsOfOnePromptComputeItOnce) {
  Engine engine(model, {.prefix_memory = 0});
  std::vector<Outcome> outcomes(3);
  for (size_t index = 0; index < 3; ++index) {
    GenerationRequest each = request(20);
    each.sampling.temperature = 1;
    each.sampling.seed = index;
    engine.submit(std::move(each), record(outcomes[index]));
  }
  engine.finish();
  EXPECT_EQ(engine.status().prompt_tokens, static_cast<int64_t>(prompt.size()) + 2);
  EXPECT_NE(outcomes[0].tokens, outcomes[1].tokens);
}

TEST_F(EngineTest, StopsWhereItShould) {
  Engine engine(model, {});
  GenerationRequest stopped = request(32);
  stopped.stop_ids = {continuation[5]};
  const auto first = std::find(continuation.begin(), continuation.end(), continuation[5]);
  const Outcome outcome = run(engine, stopped);
  EXPECT_EQ(outcome.finish, Finish::stop);
  EXPECT_EQ(outcome.tokens, std::vector<int64_t>(continuation.begin(), first));
  Outcome listener;
  GenerationEvents events = record(listener);
  events.on_token = [&](const Choice& choice) {
    listener.tokens.push_back(choice.token);
    return listener.tokens.size() < 3;
  };
  engine.submit(request(32), std::move(events));
  engine.finish();
  EXPECT_EQ(listener.finish, Finish::stop);
  EXPECT_EQ(listener.tokens.size(), 3U);
}

TEST_F(EngineTest, ScoresPrompts) {
  Engine engine(model, {});
  GenerationRequest scored = request(0);
  scored.prompt_logprobs = true;
  scored.top_logprobs = 0;
  for (int repeat = 0; repeat < 2; ++repeat) {  // a prefix in the store must not swallow scores
    const Outcome outcome = run(engine, scored);
    EXPECT_EQ(outcome.finish, Finish::length);
    EXPECT_TRUE(outcome.tokens.empty());
    ASSERT_EQ(outcome.prompt_logprobs.size(), prompt.size() - 1);
    for (const double logprob : outcome.prompt_logprobs) EXPECT_LT(logprob, 0);
  }
  // The same from the other side: the log-probability of the first generated token as part of a prompt.
  GenerationRequest told = request(1);
  told.top_logprobs = 0;
  double logprob = 0;
  GenerationEvents events{.on_token = [&](const Choice& choice) {
    logprob = choice.logprob;
    return true;
  }};
  engine.submit(told, std::move(events));
  engine.finish();
  scored.prompt.push_back(continuation[0]);
  EXPECT_EQ(run(engine, scored).prompt_logprobs.back(), logprob);
}

TEST_F(EngineTest, CancelledRequestsFreeTheirCaches) {
  Engine engine(model, {});
  Outcome outcome, waiting;
  const int64_t id = engine.submit(request(32), record(outcome));
  for (int step = 0; step < 5; ++step) engine.step();
  EXPECT_GT(engine.status().cache_bytes["full"], 0);
  engine.cancel(id);
  engine.step();
  EXPECT_EQ(outcome.finish, Finish::cancelled);
  EXPECT_EQ(engine.status().cache_bytes.count("full"), 0U);
  EXPECT_EQ(engine.status().prefix_bytes, 0);
  engine.cancel(engine.submit(request(32), record(waiting)));
  engine.finish();
  EXPECT_EQ(waiting.finish, Finish::cancelled);
  EXPECT_EQ(waiting.ends, 1);
  engine.cancel(12345);  // nobody's
  engine.finish();
}

TEST_F(EngineTest, HooksSeeTheRowsOfTheirRequestAlone) {
  Engine plain(model, {});
  const Outcome expected = run(plain, request(8));
  // What the hidden states before layer 1 are, position by position, whatever the parts and neighbours.
  const auto seen_by = [&](const EngineOptions& options, bool beside_others) {
    std::map<int64_t, torch::Tensor> seen;
    GenerationRequest watched = request(8);
    watched.hook = [&](const RequestBoundary& boundary, torch::Tensor& rows) {
      EXPECT_EQ(boundary.prompt_tokens, static_cast<int64_t>(prompt.size()));
      if (boundary.layer != 1) return;
      for (int64_t i = 0; i < rows.size(0); ++i) seen[boundary.first_position + i] = rows[i].clone();
    };
    Engine engine(model, options);
    Outcome outcome;
    std::vector<Outcome> others(3);
    if (beside_others) {
      for (size_t i = 0; i < others.size(); ++i) {
        GenerationRequest other = request(5);
        other.prompt = other_prompt(static_cast<int64_t>(i));
        engine.submit(std::move(other), record(others[i]));
      }
    }
    engine.submit(std::move(watched), record(outcome));
    engine.finish();
    EXPECT_EQ(outcome.tokens, expected.tokens) << "looking changes nothing";
    return seen;
  };
  const auto alone = seen_by({}, false), beside = seen_by({.prompt_part = 7, .prompt_part_while_decoding = 3}, true);
  EXPECT_EQ(alone.size(), prompt.size() + 7);
  ASSERT_EQ(beside.size(), alone.size());
  for (const auto& [position, row] : alone) EXPECT_TRUE(torch::equal(row, beside.at(position))) << position;
}

TEST_F(EngineTest, HooksReplaceHiddenStatesAndKeepTheirPrefixesApart) {
  Engine engine(model, {});
  const Outcome plain = run(engine, request(8));
  const auto patched = [&](const std::string& variant) {
    GenerationRequest changed = request(8);
    changed.variant = variant;
    changed.hook = [](const RequestBoundary& boundary, torch::Tensor& rows) {
      if (boundary.layer == 1) rows = rows * -1.5;
    };
    return run(engine, std::move(changed));
  };
  const Outcome first = patched("");
  EXPECT_NE(first.tokens, plain.tokens);
  EXPECT_EQ(first.prompt_parts.back().second, 0) << "a request with a hook takes over nothing from others";
  EXPECT_EQ(run(engine, request(8)).tokens, plain.tokens) << "and leaves nothing to them";
  // Under a name, requests of one variant share what they computed.
  EXPECT_EQ(patched("negated").prompt_parts.back().second, 0);
  const Outcome again = patched("negated");
  EXPECT_EQ(again.prompt_parts.back().second, static_cast<int64_t>(prompt.size()) - 1);
  EXPECT_EQ(again.tokens, first.tokens);
  GenerationRequest wrong = request(2);
  wrong.hook = [](const RequestBoundary&, torch::Tensor& rows) { rows = rows.narrow(1, 0, 1); };
  const Outcome refused = run(engine, std::move(wrong));
  EXPECT_EQ(refused.finish, Finish::error);
  EXPECT_CONTAINS(refused.error, "a hook replaced");
}

TEST_F(EngineTest, RefusesWhatCanNeverRun) {
  Engine engine(model, {.cache_memory = 300000});
  const auto refusal = [&](const std::vector<int64_t>& tokens, int64_t max_tokens) {
    GenerationRequest each = request(max_tokens);
    each.prompt = tokens;
    return error_of([&] { engine.submit(std::move(each), {}); });
  };
  EXPECT_CONTAINS(refusal({}, 1), "the prompt holds no token");
  EXPECT_CONTAINS(refusal(prompt, 233), "the prompt has 24 tokens and max_tokens is 233: 257 in all");
  EXPECT_CONTAINS(refusal({96}, 1), "expected token ids below 96, got 96");
  Engine narrow(model, {.cache_memory = 1000});
  EXPECT_CONTAINS(error_of([&] { narrow.submit(request(3), {}); }), "all caches together may hold 1000 B");
  EXPECT_CONTAINS(error_of([&] { narrow.check_policy({.kind = "full"}); }),
                  "a cache of one token and its answer takes ");
  EXPECT_EQ(error_of([&] { engine.check_policy({.kind = "full"}); }), "no error");
}

TEST_F(EngineTest, WaitsWhileMemoryIsShort) {
  const auto kind = cache::open_kind({.kind = "full"}, model.cached_model());
  const int64_t one = model.decoder().sequence_bytes(*kind, static_cast<int64_t>(prompt.size()) + 8);
  Engine engine(model, {.cache_memory = 2 * one, .prefix_memory = 0});
  std::vector<Outcome> outcomes(5);
  for (Outcome& outcome : outcomes) engine.submit(request(8), record(outcome));
  int64_t most = 0;
  while (engine.step()) most = std::max(most, engine.status().running);
  EXPECT_EQ(most, 2);
  for (const Outcome& outcome : outcomes) EXPECT_EQ(outcome.tokens, outcomes[0].tokens);
}

TEST_F(EngineTest, PaddingOfTheVocabularyIsNeverChosen) {
  Engine engine(model, {.sampled_tokens = 30});
  GenerationRequest wild = request(60);
  wild.sampling.temperature = 5;
  for (const int64_t token : run(engine, wild).tokens) EXPECT_LT(token, 30);
}

TEST_F(EngineTest, TakesRequestsFromOtherThreads) {
  Engine engine(model, {});
  std::atomic<bool> stop{false};
  std::atomic<int> ended{0};
  std::thread runner([&] { engine.run(stop); });
  std::vector<std::thread> clients;
  for (int client = 0; client < 4; ++client) {
    clients.emplace_back([&] {
      for (int repeat = 0; repeat < 3; ++repeat) {
        engine.submit(request(4), {.on_token = [](const Choice&) { return true; },
                                   .on_end = [&](Finish, const std::string&) { ++ended; }});
      }
    });
  }
  for (std::thread& client : clients) client.join();
  while (ended < 12) std::this_thread::yield();
  stop = true;
  runner.join();
  EXPECT_EQ(engine.status().generated_tokens, 48);
}

}  // namespace
}  // namespace incontext::decode

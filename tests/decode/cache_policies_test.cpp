// Compressed caches through the engine: whatever else is served, and whatever was served before, a request gets the
// tokens that it gets alone.

#include <gtest/gtest.h>

#include <set>

#include "cache/saved_state.h"
#include "decode/engine.h"
#include "support/errors.h"
#include "support/temporary_directory.h"
#include "support/wide_model.h"
#include "tensor/device.h"

namespace incontext::decode {
namespace {

using testing::error_of;

struct PolicyOutcome {
  std::vector<int64_t> tokens;
  std::vector<double> logprobs;
  int64_t reused = 0;
  std::string error;

  bool operator==(const PolicyOutcome& other) const {
    return tokens == other.tokens && logprobs == other.logprobs && error == other.error;
  }
};

class CachePolicies : public ::testing::Test {
 protected:
  struct Folder {
    testing::TemporaryDirectory directory;
    Folder() { testing::write_wide_model(directory / "", 96); }
  } folder_;
  models::LanguageModel model{folder_.directory / ""};
  const std::string lexico = "lexico:tail=32,sparsity=4,dictionary=" + (folder_.directory / "dictionary").string();
  const std::vector<std::string> policies{"full",
                                          "q8_0",
                                          "q4_0",
                                          "k=q8_0,v=q4_0",
                                          "kivi:tail=32",
                                          "kivi:bits=4,tail=0,exact_layers=0",
                                          lexico,
                                          "snapkv:window=8,budget=40",
                                          "random:tail=16,keep=0.4",
                                          "streaming:tail=32"};

  CachePolicies() {
    tensor::set_kernel_threads(1);  // so little work is slower with more
    testing::write_random_dictionary(folder_.directory / "dictionary", model.cached_model(), 128);
  }

  static GenerationRequest request(const std::string& policy, int64_t prompt, int64_t max_tokens, int64_t start = 0) {
    GenerationRequest request;
    for (int64_t i = 0; i < prompt; ++i) request.prompt.push_back((i * i + 7 * i + start * 13) % 96);
    request.max_tokens = max_tokens;
    request.sampling.temperature = 0;
    request.top_logprobs = 0;
    request.policy = cache::parse_policy(policy);
    return request;
  }
  static GenerationEvents record(PolicyOutcome& outcome) {
    return {.on_prompt = [&](int64_t, int64_t reused) { outcome.reused = reused; },
            .on_token =
                [&](const Choice& choice) {
                  outcome.tokens.push_back(choice.token);
                  outcome.logprobs.push_back(choice.logprob);
                  return true;
                },
            .on_end = [&](Finish, const std::string& error) { outcome.error = error; }};
  }
  static PolicyOutcome run(Engine& engine, GenerationRequest request) {
    PolicyOutcome outcome;
    engine.submit(std::move(request), record(outcome));
    engine.finish();
    return outcome;
  }
  PolicyOutcome alone(GenerationRequest request) const {
    Engine engine(model, {.prefix_memory = 0});
    return run(engine, std::move(request));
  }
};

TEST_F(CachePolicies, AllAtOnceGetWhatEachGetsAlone) {
  std::vector<PolicyOutcome> apart, together(2 * policies.size());
  const auto each = [&](size_t index) {
    const auto number = static_cast<int64_t>(index);
    return request(policies[index % policies.size()], 90 + 23 * number, 40 + number, number);
  };
  for (size_t index = 0; index < together.size(); ++index) apart.push_back(alone(each(index)));
  Engine engine(model, {.max_batch = 12, .prompt_part = 64, .prompt_part_while_decoding = 16, .prefix_memory = 0});
  for (size_t index = 0; index < together.size(); ++index) {
    engine.submit(each(index), record(together[index]));
    engine.step();
  }
  engine.finish();
  for (size_t index = 0; index < together.size(); ++index) {
    EXPECT_EQ(together[index].error, "");
    EXPECT_EQ(together[index].tokens.size(), 40 + index);
    EXPECT_TRUE(together[index] == apart[index]) << policies[index % policies.size()];
  }
  // And they are compressed: the same prompt has other probabilities with each.
  std::set<std::vector<double>> distinct;
  for (const std::string& policy : policies) distinct.insert(alone(request(policy, 150, 8)).logprobs);
  EXPECT_EQ(distinct.size(), policies.size());
}

TEST_F(CachePolicies, ReusedPrefixesChangeNothing) {
  for (const std::string& policy : policies) {
    Engine engine(model, {});
    const PolicyOutcome first = run(engine, request(policy, 120, 30));
    EXPECT_EQ(first.reused, 0);
    const PolicyOutcome again = run(engine, request(policy, 120, 30));
    EXPECT_EQ(again.reused, 119) << policy;
    EXPECT_TRUE(again == first) << policy;
    const GenerationRequest longer = request(policy, 170, 30);
    const PolicyOutcome third = run(engine, longer);
    EXPECT_EQ(third.reused, 120) << policy;
    EXPECT_TRUE(third == alone(longer)) << policy;
  }
}

TEST_F(CachePolicies, SavedCachesGoOn) {
  const testing::TemporaryDirectory directory;
  for (const std::string& policy : policies) {
    Engine engine(model, {.keep_compressed = true});
    GenerationRequest first = request(policy, 120, 30);
    const PolicyOutcome answer = run(engine, first);
    GenerationRequest next = first;
    next.prompt.insert(next.prompt.end(), answer.tokens.begin(), answer.tokens.end());
    const cache::SequenceState* state = engine.find_prefix(std::span(next.prompt).first(149), first.policy);
    ASSERT_NE(state, nullptr) << policy;
    cache::save_state(*state, directory / "state", model.fingerprint());
    for (int64_t token = 0; token < 20; ++token) next.prompt.push_back(token * 5 % 96);
    Engine copied(model, {}), loaded(model, {});
    copied.add_prefix(state->fork(149, 149));
    loaded.add_prefix(model.load_sequence(directory / "state", *cache::open_kind(first.policy, model.cached_model())));
    const PolicyOutcome expected = run(copied, next), outcome = run(loaded, next);
    EXPECT_EQ(outcome.reused, 149) << policy;
    EXPECT_EQ(outcome.tokens.size(), 30U);
    EXPECT_TRUE(outcome == expected) << policy;
    // Another policy does not take it.
    const std::string other = policy == "full" ? "q4_0" : "full";
    EXPECT_CONTAINS(error_of([&] {
                      model.load_sequence(directory / "state",
                                          *cache::open_kind(cache::parse_policy(other), model.cached_model()));
                    }),
                    "expected policy '");
  }
}

TEST_F(CachePolicies, MemoryAdmitsMoreOfTheSmallerOnes) {
  const auto most_at_once = [&](const std::string& policy, int64_t prompt) {
    const auto full = cache::open_kind({.kind = "full"}, model.cached_model());
    Engine engine(
        model, {.max_batch = 16, .cache_memory = 2 * model.decoder().sequence_bytes(*full, 2000), .prefix_memory = 0});
    std::vector<PolicyOutcome> outcomes(12);
    for (PolicyOutcome& outcome : outcomes) engine.submit(request(policy, prompt, 2000 - prompt), record(outcome));
    int64_t most = 0, held = 0;
    for (int step = 0; step < 60 && engine.step(); ++step) {
      most = std::max(most, engine.status().running);
      int64_t bytes = 0;
      for (const auto& [name, size] : engine.status().cache_bytes) bytes += size;
      held = std::max(held, bytes);
    }
    EXPECT_LE(held, engine.options().cache_memory);
    return most;
  };
  EXPECT_EQ(most_at_once("full", 40), 2);
  EXPECT_EQ(most_at_once("q8_0", 40), 3);
  EXPECT_EQ(most_at_once("q4_0", 40), 6);
  EXPECT_GE(most_at_once("kivi:tail=32", 40), 8);
  EXPECT_GE(most_at_once(lexico, 40), 8);
  EXPECT_GE(most_at_once("streaming:tail=128", 40), 12);
  // A long prompt is read one after the other: while it is, it takes what a full one takes.
  EXPECT_GE(most_at_once("snapkv:keep=0.1", 1900), 2);
}

TEST_F(CachePolicies, TheOwnerIsToldWhatACacheCameToHold) {
  Engine engine(model, {});
  const auto bytes_of = [&](const std::string& policy) {
    int64_t bytes = -1;
    bool ended = false;
    GenerationEvents events{.on_token = [](const Choice&) { return true; },
                            .on_cache =
                                [&](int64_t held) {
                                  EXPECT_FALSE(ended);
                                  bytes = held;
                                },
                            .on_end = [&](Finish, const std::string&) { ended = true; }};
    engine.submit(request(policy, 600, 20), std::move(events));
    engine.finish();
    EXPECT_TRUE(ended);
    return bytes;
  };
  const int64_t full = bytes_of("full");
  EXPECT_GE(full, int64_t{2} * 2 * 2 * 64 * 2 * 619);  // keys and values, layers, heads of 64 numbers of 2 bytes
  EXPECT_LT(bytes_of("q4_0"), full / 3);
  EXPECT_LT(bytes_of(lexico), full / 3);
}

// Requests choose policies, and their spelling: what nobody uses must not stay.
TEST_F(CachePolicies, KindsThatNobodyUsesAreForgotten) {
  Engine engine(model, {});
  const auto open = [&](const std::string& policy) { return engine.check_policy(cache::parse_policy(policy)); };
  const std::shared_ptr<const cache::CacheKind> held = open(lexico);
  const std::weak_ptr<const cache::CacheKind> left = open("q8_0:sinks=7");
  EXPECT_EQ(open("q8_0:sinks=7"), left.lock()) << "opened once";
  run(engine, request("q4_0:sinks=3", 60, 5));  // leaves a prefix
  std::string zeros;
  for (int sinks = 0; sinks < 100; ++sinks) {
    open(fmt::format("kivi:sinks={}", sinks));
    zeros += "0";
    EXPECT_EQ(open(lexico + ",sinks=" + zeros + "4"), held) << "another spelling of what is held";
  }
  EXPECT_TRUE(left.expired());
  EXPECT_EQ(open(lexico), held);
  EXPECT_EQ(run(engine, request("q4_0:sinks=3", 60, 5)).reused, 59);
}

TEST_F(CachePolicies, TwoSpellingsShareTheirPrefixes) {
  Engine engine(model, {});
  run(engine, request("k=q8_0,v=q4_0", 60, 5));
  EXPECT_EQ(run(engine, request("q8_0:values=q4_0,rotate=on", 60, 5)).reused, 59);
  EXPECT_EQ(run(engine, request("q8_0", 60, 5)).reused, 0);
}

TEST_F(CachePolicies, ModelsWithSlidingWindowsAreRefusedWhereAKindCannotServeThem) {
  const models::LanguageModel sliding(std::filesystem::path(INCONTEXT_SOURCE_DIR) / "tests/golden/language/mistral");
  ASSERT_TRUE(sliding.cached_model().sliding_window);
  Engine engine(sliding, {});
  EXPECT_CONTAINS(error_of([&] { engine.check_policy(cache::parse_policy("snapkv")); }),
                  "cache policy 'snapkv': a model with sliding windows cannot have it");
  EXPECT_EQ(error_of([&] { engine.check_policy(cache::parse_policy("q4_0")); }), "no error");
}

}  // namespace
}  // namespace incontext::decode

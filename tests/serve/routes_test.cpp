// What every route answers when all is well.

#include "base/exact_json.h"
#include "serve/served.h"

namespace incontext::testing {
namespace {

TEST(Routes, Chat) {
  const Served served;
  const auto [status, body] = served.post("/v1/chat/completions", chat("hi"));
  ASSERT_EQ(status, 200) << body;
  EXPECT_EQ(body["object"], "chat.completion");
  EXPECT_TRUE(body["id"].get<std::string>().starts_with("chatcmpl-"));
  EXPECT_EQ(body["model"], "fake");
  EXPECT_EQ(body["system_fingerprint"], "fp_fake");
  EXPECT_GT(body["created"].get<int64_t>(), 1'600'000'000);
  const Json message = {{"role", "assistant"}, {"content", "Hello"}, {"refusal", nullptr}};
  EXPECT_EQ(body["choices"],
            Json::array({{{"index", 0}, {"message", message}, {"logprobs", nullptr}, {"finish_reason", "length"}}}));
  EXPECT_EQ(body["usage"], (Json{{"prompt_tokens", 3},
                                 {"completion_tokens", 5},
                                 {"total_tokens", 8},
                                 {"prompt_tokens_details", {{"cached_tokens", 1}}},
                                 {"cache_policy", "full"},
                                 {"cache_bytes", 1005}}));
}

TEST(Routes, ChatLogprobs) {
  const Served served;
  Json ask = chat("hi");
  ask["logprobs"] = true;
  ask["top_logprobs"] = 2;
  ask["max_completion_tokens"] = 1;
  const auto [status, body] = served.post("/v1/chat/completions", ask);
  ASSERT_EQ(status, 200) << body;
  const Json h = {{"token", "H"}, {"logprob", -0.5}, {"bytes", {72}}};
  Json expected = h;
  expected["top_logprobs"] = Json::array({h, {{"token", "z"}, {"logprob", -2.5}, {"bytes", {122}}}});
  EXPECT_EQ(body["choices"][0]["logprobs"]["content"], Json::array({expected}));
}

TEST(Routes, ParameterReachTheBackend) {
  const Served served;
  Json ask = chat("hi");
  ask.update({{"temperature", 0.5},
              {"top_p", 0.9},
              {"top_k", -1},
              {"min_p", 0.1},
              {"presence_penalty", 1},
              {"frequency_penalty", -1},
              {"seed", 7},
              {"stop", "w"},
              {"repetition_penalty", 1.5},
              {"cache", "full:bf16"},
              {"ignore_eos", true},
              {"logit_bias", {{"65", -100}}}});
  ASSERT_EQ(served.post("/v1/chat/completions", ask).first, 200);
  const serve::ContinuationRequest last = served.backend.last();
  EXPECT_EQ(last.sampling.temperature, 0.5);
  EXPECT_EQ(last.sampling.top_p, 0.9);
  EXPECT_EQ(last.sampling.top_k, 0);
  EXPECT_EQ(last.sampling.min_p, 0.1);
  EXPECT_EQ(last.sampling.presence_penalty, 1);
  EXPECT_EQ(last.sampling.frequency_penalty, -1);
  EXPECT_EQ(last.sampling.repetition_penalty, 1.5);
  EXPECT_EQ(last.sampling.seed, 7u);
  EXPECT_EQ(last.sampling.logit_bias, (std::map<int64_t, double>{{65, -100}}));
  EXPECT_EQ(last.stop, std::vector<std::string>{"w"});
  EXPECT_EQ(last.cache, "full:bf16");
  EXPECT_TRUE(last.ignore_eos);
  EXPECT_EQ(last.max_tokens, 5);
  EXPECT_EQ(last.top_logprobs, -1);
}

TEST(Routes, MessagesReachTheTemplate) {
  const Served served;
  Json ask = chat("x");
  ask["messages"] = Json::parse(R"([
    {"role": "developer", "content": "be brief"},
    {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": "{\"a\": 1}"}}]},
    {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}])");
  ask["tools"] = Json::parse(R"([{"type": "function", "function": {"name": "f"}}])");
  ask["chat_template_kwargs"] = {{"enable_thinking", false}};
  ASSERT_EQ(served.post("/v1/chat/completions", ask).first, 200);
  const serve::ChatPrompt seen = served.backend.last_chat();
  EXPECT_EQ(seen.messages[0]["role"], "system");
  EXPECT_TRUE(seen.messages[1].at("content").is_null());
  EXPECT_EQ(seen.messages[1]["tool_calls"][0]["function"]["arguments"], (Json{{"a", 1}}));
  EXPECT_EQ(seen.messages[2]["content"], ask["messages"][2]["content"]);
  EXPECT_EQ(seen.tools, ask["tools"]);
  EXPECT_EQ(seen.variables, ask["chat_template_kwargs"]);
  ask["tool_choice"] = "none";
  ASSERT_EQ(served.post("/v1/chat/completions", ask).first, 200);
  EXPECT_TRUE(served.backend.last_chat().tools.is_null());
}

TEST(Routes, ArgumentsOfToolCallsAreObjects) {
  const Served served;
  const auto arguments = [&](const std::string& written) {
    const Json ask =
        Json::parse(R"({"max_tokens": 1, "messages": [{"role": "assistant", "content": null, "tool_calls": [
      {"function": {"name": "f", "arguments": null}}]}, {"role": "user", "content": "a"}]})");
    std::string body = ask.dump();
    body.replace(body.find("\"arguments\":null") + 12, 4, written);
    EXPECT_EQ(served.post("/v1/chat/completions", body).first, 200) << written;
    return served.backend.last_chat().messages[0]["tool_calls"][0]["function"]["arguments"];
  };
  for (const char* nothing : {"null", R"("")", R"(" \n ")", R"("null")", R"(" null ")", R"("{}")", "{}"}) {
    EXPECT_EQ(arguments(nothing).dump(), "{}") << nothing;
  }
  EXPECT_EQ(arguments(R"("{\"a\": [1, 2.50]}")").dump(), R"({"a":[1,2.5]})");
  for (const char* text : {R"("not JSON")", R"("[1]")", R"("7")", R"("{\"a\": 1e999}")"}) {
    EXPECT_EQ(arguments(text), Json::parse(text)) << text;
  }
  // Digits beyond 64 bits: in arguments, written as text or not.
  const std::string digits = "123456789012345678901234567890";
  for (const std::string& written : {"{\"id\": -" + digits + "}", "\"{\\\"id\\\": -" + digits + "}\""}) {
    EXPECT_EQ(base::big_integer_digits(arguments(written)["id"]), "-" + digits) << written;
  }
  EXPECT_EQ(arguments(R"("{\"id\": 18446744073709551615}")")["id"], UINT64_MAX);
}

TEST(Routes, IntegersOfSchemasKeepTheirDigits) {
  const Served served;
  const std::string digits(400, '9');
  const std::string body = R"({"messages": [{"role": "user", "content": "a"}], "max_tokens": 1, "tools": [{"function":
    {"parameters": {"maximum": )" +
                           digits + R"(}}}], "chat_template_kwargs": {"id": )" + digits + "}}";
  ASSERT_EQ(served.post("/v1/chat/completions", body).first, 200);
  const serve::ChatPrompt seen = served.backend.last_chat();
  EXPECT_EQ(base::big_integer_digits(seen.tools[0]["function"]["parameters"]["maximum"]), digits);
  EXPECT_EQ(base::big_integer_digits(seen.variables["id"]), digits);
}

// What the official client writes of an answer that it sends back.
TEST(Routes, TurnsOfAModelMaySayNothing) {
  const Served served;
  const Json ask = Json::parse(R"({"max_tokens": 1, "messages": [
    {"role": "assistant", "content": "Hi", "refusal": null, "annotations": null, "audio": null, "function_call": null,
     "tool_calls": null}, {"role": "assistant", "content": null}, {"role": "assistant"},
    {"role": "user", "content": "a"}]})");
  ASSERT_EQ(served.post("/v1/chat/completions", ask).first, 200);
  EXPECT_EQ(served.backend.last_chat().messages, ask["messages"]);
}

TEST(Routes, CompletionsOfEveryKindOfPrompt) {
  const Served served;
  const std::vector<Json> prompts = {"ab", Json::array({"ab"}), {256, 97, 98}, Json::array({{256, 97, 98}})};
  for (const Json& prompt : prompts) {
    const auto [status, body] = served.post("/v1/completions", completion(prompt));
    ASSERT_EQ(status, 200) << body;
    EXPECT_EQ(served.backend.last().prompt, (std::vector<int64_t>{256, 97, 98})) << prompt;
    EXPECT_EQ(body["object"], "text_completion");
    EXPECT_EQ(body["choices"],
              Json::array({{{"index", 0}, {"text", "Hello"}, {"logprobs", nullptr}, {"finish_reason", "length"}}}));
  }
}

TEST(Routes, SeveralPromptsAndChoices) {
  const Served served;
  Json ask = completion({"a", "bcd"});
  ask["n"] = 2;
  ask["echo"] = true;
  ask["stop"] = {"l", "o"};
  const auto [status, body] = served.post("/v1/completions", ask);
  ASSERT_EQ(status, 200) << body;
  std::vector<std::string> texts;
  for (const Json& choice : body["choices"]) {
    EXPECT_EQ(choice["index"], texts.size());
    EXPECT_EQ(choice["finish_reason"], "stop");
    texts.push_back(choice["text"]);
  }
  EXPECT_EQ(texts, (std::vector<std::string>{"aHe", "aHe", "bcdHe", "bcdHe"}));
  EXPECT_EQ(body["usage"]["prompt_tokens"], 6) << "a prompt counts once";
  EXPECT_EQ(body["usage"]["completion_tokens"], 8);
}

// The two requests that lm-evaluation-harness makes of log-likelihoods.
TEST(Routes, EchoWithLogprobs) {
  const Served served;
  for (const int max_tokens : {0, 1}) {
    const Json ask = {{"model", "fake"},
                      {"prompt", Json::array({{97, 98, 0xE2}})},
                      {"max_tokens", max_tokens},
                      {"logprobs", 1},
                      {"echo", true},
                      {"temperature", 0},
                      {"seed", 1234}};
    const auto [status, body] = served.post("/v1/completions", ask);
    ASSERT_EQ(status, 200) << body;
    const Json& logprobs = body["choices"][0]["logprobs"];
    Json tokens = {"a", "b", "bytes:\\xe2"}, values = {nullptr, -0.5, -0.5}, offsets = {0, 1, 2};
    if (max_tokens == 1) {
      tokens.push_back("H");
      values.push_back(-0.5);
      offsets.push_back(3);
    }
    EXPECT_EQ(logprobs["tokens"], tokens);
    EXPECT_EQ(logprobs["token_logprobs"], values);
    EXPECT_EQ(logprobs["text_offset"], offsets);
    EXPECT_TRUE(logprobs["top_logprobs"][0].is_null());
    EXPECT_EQ(logprobs["top_logprobs"][1], (Json{{"b", -0.5}, {"z", -2.5}}));
    EXPECT_EQ(body["choices"][0]["finish_reason"], "length");
  }
}

// A reader of scores takes away the one token it asked for, whatever it is.
TEST(Routes, TheTokenThatEndsATextIsScored) {
  Served served;
  served.backend.length = 0;
  const Json ask = {{"prompt", {97, 98}}, {"max_tokens", 1}, {"logprobs", 1}, {"echo", true}};
  const auto [status, body] = served.post("/v1/completions", ask);
  ASSERT_EQ(status, 200) << body;
  EXPECT_EQ(body["choices"][0]["text"], "ab");
  EXPECT_EQ(body["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(body["choices"][0]["logprobs"]["tokens"], (Json{"a", "b", "<s>"}));
  EXPECT_EQ(body["choices"][0]["logprobs"]["token_logprobs"], (Json{nullptr, -0.5, -0.5}));
  EXPECT_EQ(body["usage"]["completion_tokens"], 0);
  served.backend.length = 2;
  Json talk = chat("hi");
  talk["logprobs"] = true;
  const Json said = served.post("/v1/chat/completions", talk).second["choices"][0];
  EXPECT_EQ(said["message"]["content"], "He");
  EXPECT_EQ(said["logprobs"]["content"].size(), 2u) << "a chat's scores are of what it shows";
}

TEST(Routes, TextOffsetsAreThoseOfTheText) {
  const Served served;
  Json ask = completion("aé");  // its tokens: one that is not shown, "a", and two halves
  ask.update({{"logprobs", 0}, {"echo", true}, {"max_tokens", 2}});
  const Json choice = served.post("/v1/completions", ask).second["choices"][0];
  EXPECT_EQ(choice["text"], "aéHe");
  EXPECT_EQ(choice["logprobs"]["text_offset"], (Json{0, 0, 1, 2, 2, 3}));
}

TEST(Routes, Models) {
  const Served served;
  const Json list = Json::parse(served.get("/v1/models").second);
  EXPECT_EQ(list["object"], "list");
  EXPECT_EQ(list["data"][0]["id"], "fake");
  EXPECT_EQ(list["data"][1]["id"], "fake-alias");
  EXPECT_EQ(list["data"][0]["object"], "model");
  EXPECT_EQ(list["data"][0]["max_model_len"], 200);
  EXPECT_EQ(list["data"][0]["caches"], (Json{"full", "full:f32"}));
  EXPECT_EQ(served.get("/v1/models/fake-alias").first, 200);
  EXPECT_EQ(served.get("/v1/models/other").first, 404);
}

TEST(Routes, TokenizeAndBack) {
  const Served served;
  auto [status, body] = served.post("/tokenize", Json{{"content", "ab"}});
  EXPECT_EQ(body["tokens"], (Json{256, 97, 98}));
  EXPECT_EQ(body["count"], 3);
  std::tie(status, body) =
      served.post("/tokenize", Json{{"prompt", "é"}, {"add_special_tokens", false}, {"with_pieces", true}});
  EXPECT_EQ(body["tokens"], (Json::array({{{"id", 0xC3}, {"piece", {0xC3}}}, {{"id", 0xA9}, {"piece", {0xA9}}}})));
  std::tie(status, body) = served.post("/detokenize", Json{{"tokens", {97, 98}}});
  EXPECT_EQ(body["content"], "ab");
}

TEST(Routes, HealthMetricsAndPage) {
  Served served;
  EXPECT_EQ(served.get("/health"), (std::pair<int, std::string>(200, R"({"status":"ok"})")));
  ASSERT_EQ(served.post("/v1/chat/completions", chat("hi")).first, 200);
  ASSERT_EQ(served.post("/v1/completions", std::string("{")).first, 400);
  served.backend.hold(true);
  std::thread busy([&] { served.post("/v1/chat/completions", chat("hi")); });
  ASSERT_TRUE(soon([&] { return served.running() == 1; }));
  const std::string metrics = served.get("/metrics").second;
  served.backend.hold(false);
  busy.join();
  for (const std::string line :
       {"incontext_requests_total{route=\"/v1/chat/completions\",code=\"200\"} 1\n",
        "incontext_requests_total{route=\"/v1/completions\",code=\"400\"} 1\n", "incontext_requests_running 1\n",
        "incontext_prompt_tokens_total 3\n", "incontext_reused_tokens_total 1\n",
        "incontext_generated_tokens_total 5\n", "incontext_cache_bytes{policy=\"full\"} 1000\n",
        "incontext_cache_tokens{policy=\"full\"} 10\n",
        "incontext_cache_fixed_bytes{policy=\"full:dictionary=\\\"a\\\"\"} 77\n",
        "incontext_time_to_first_token_seconds_count 1\n", "incontext_time_per_token_seconds_count 4\n",
        "incontext_time_per_token_seconds_bucket{le=\"+Inf\"} 4\n",
        "incontext_continuations_total{finish=\"length\"} 1\n",
        "# TYPE incontext_time_per_token_seconds histogram\n"}) {
    EXPECT_CONTAINS(metrics, line);
  }
  const std::string page = served.get("/").second;
  EXPECT_CONTAINS(page, "<!doctype html>");
  EXPECT_EQ(page.find("http://"), std::string::npos) << "nothing from elsewhere";
  EXPECT_EQ(page.find("https://"), std::string::npos);
}

}  // namespace
}  // namespace incontext::testing

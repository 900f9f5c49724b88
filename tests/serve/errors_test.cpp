// What is wrong with a request is told in OpenAI's shape, with the field's name.

#include "serve/served.h"

namespace incontext::testing {
namespace {

struct Bad {
  Json change;  // laid over a good request
  std::string param;
  std::string words;  // of the message
};

void expect_refused(const std::string& path, const Json& good, const std::vector<Bad>& all) {
  const Served served;
  for (const Bad& bad : all) {
    Json ask = good;
    ask.update(bad.change);
    const auto [status, body] = served.post(path, ask);
    EXPECT_EQ(status, 400) << bad.change << body;
    if (!body.is_object() || !body.contains("error")) continue;
    const Json& error = body["error"];
    EXPECT_EQ(error["param"], bad.param) << bad.change;
    EXPECT_EQ(error["type"], "invalid_request_error");
    EXPECT_TRUE(error.contains("code"));
    EXPECT_CONTAINS(error["message"].get<std::string>(), bad.words);
  }
}

TEST(Errors, OfBothRoutes) {
  expect_refused("/v1/completions", completion("a"),
                 {{{{"temperature", "hot"}}, "temperature", "expected a number, got \"hot\""},
                  {{{"temperature", -1}}, "temperature", "expected 0 to 100, got -1"},
                  {{{"top_p", 2}}, "top_p", "expected 0 to 1"},
                  {{{"top_k", 1.5}}, "top_k", "expected a whole number"},
                  {{{"functions", Json::array({"f"})}}, "functions", "not supported, got a list"},
                  {{{"tool_choice", "required"}}, "tool_choice", "no tool can be forced, got \"required\""},
                  {{{"top_k", -2}}, "top_k", "expected at least 0"},
                  {{{"repetition_penalty", 0}}, "repetition_penalty", "expected a number above 0"},
                  {{{"n", 0}}, "n", "expected 1 to 128"},
                  {{{"n", 129}}, "n", "expected 1 to 128"},
                  {{{"max_tokens", -1}}, "max_tokens", "expected at least 0"},
                  {{{"stop", 3}}, "stop", "expected a string or a list of strings"},
                  {{{"stop", Json::array({"a", 3})}}, "stop", "expected a string"},
                  {{{"stop", Json(std::vector<std::string>(17, "x"))}}, "stop", "at most 16"},
                  {{{"stream", 1}}, "stream", "expected true or false"},
                  {{{"stream_options", {{"include_usage", true}}}}, "stream_options", "only with"},
                  {{{"logit_bias", {{"257", 1}}}}, "logit_bias", "0 to 256"},
                  {{{"logit_bias", {{"7", 101}}}}, "logit_bias.7", "-100 to 100"},
                  {{{"logit_bias", {{"x", 1}}}}, "logit_bias", "token ids"},
                  {{{"cache", "nothing"}}, "cache", "'nothing' is no cache policy"},
                  {{{"response_format", {{"type", "json_object"}}}}, "response_format", "text"},
                  {{{"model", 5}}, "model", "expected a string"}});
}

TEST(Errors, OfCompletions) {
  expect_refused(
      "/v1/completions", completion("a"),
      {{{{"prompt", nullptr}}, "prompt", "expected a string"},
       {{{"prompt", Json::array()}}, "prompt", "at least one prompt"},
       {{{"prompt", Json::array({97, 257})}}, "prompt", "ids from 0 to 256, got 257"},
       {{{"prompt", Json::array({UINT64_MAX})}}, "prompt", "the number 18446744073709551615 is too large"},
       {{{"prompt", Json::array({Json::array()})}}, "prompt", "at least one token"},
       {{{"prompt", Json::array({97, "a"})}}, "prompt", "expected a whole number"},
       {{{"prompt", std::string(300, 'a')}}, "prompt", "the prompt has 301 tokens, and the model's context holds 200"},
       {{{"max_tokens", INT64_MAX}}, "max_tokens", "9223372036854775809 in all, and the model's context holds 200"},
       {{{"max_tokens", UINT64_MAX}}, "max_tokens", "the number 18446744073709551615 is too large"},
       {{{"max_tokens", 199}}, "max_tokens", "201 in all, and the model's context holds 200"},
       {{{"logprobs", 21}}, "logprobs", "expected 0 to 20"},
       {{{"logprobs", true}}, "logprobs", "expected a whole number"},
       {{{"best_of", 2}}, "best_of", "only 1"},
       {{{"suffix", "x"}}, "suffix", "not supported"}});
}

TEST(Errors, OfChats) {
  const auto messages = [](const char* text) { return Json{{"messages", Json::parse(text)}}; };
  const auto called_with = [](const std::string& arguments) {
    const Json call = {{"function", {{"name", "f"}, {"arguments", arguments}}}};
    return Json{{"messages", Json::array({{{"role", "assistant"}, {"tool_calls", Json::array({call})}}})}};
  };
  const std::string nested = R"({"a": )" + std::string(1000, '[') + std::string(1000, ']') + "}";
  std::string many_keys = R"({"a": 1)";
  for (int i = 0; i < 20000; ++i) many_keys += fmt::format(R"(, "{}": 1)", i);
  many_keys += "}";
  expect_refused("/v1/chat/completions", chat("hi"),
                 {{messages("null"), "messages", "expected a list"},
                  {messages("[]"), "messages", "at least one"},
                  {messages("[3]"), "messages[0]", "expected an object"},
                  {messages(R"([{"content": "a"}])"), "messages[0].role", "expected a role"},
                  {messages(R"([{"role": "user"}])"), "messages[0].content", "expected a string"},
                  {messages(R"([{"role": "user", "content": 5}])"), "messages[0].content", "got 5"},
                  {messages(R"([{"role": "user", "content": [{"type": "image_url"}]}])"), "messages[0].content[0].type",
                   "text only"},
                  {messages(R"([{"role": "user", "content": "refuse"}])"), "messages", "roles must alternate"},
                  {called_with(nested), "messages[0].tool_calls", "nested more than 64 deep"},
                  {called_with(many_keys), "messages[0].tool_calls", "more than 20000 fields"},
                  {{{"top_logprobs", 2}}, "top_logprobs", "only with"},
                  {{{"tools", 5}}, "tools", "expected a list"},
                  {{{"chat_template_kwargs", 5}}, "chat_template_kwargs", "expected an object"},
                  {{{"max_completion_tokens", 0}}, "max_completion_tokens", "at least 1"}});
}

TEST(Errors, OfBodies) {
  const Served served;
  const std::vector<std::pair<std::string, std::string>> bodies = {
      {"", "not JSON"},
      {"{\"prompt\": ", "not JSON"},
      {"[1]", "expected an object, got a list"},
      {"{\"prompt\": \"\xff\"}", "not UTF-8"},
      {"{\"prompt\": " + std::string(1000, '[') + std::string(1000, ']') + "}", "nested"},
      {"{\"prompt\": \"a\", \"n\": 1e999}", "too large"},
      {"{\"prompt\": \"a\", \"n\": 123456789012345678901}", "n: the number 123456789012345678901 is too large"},
      {"{\"prompt\": [123456789012345678901]}", "prompt: the number 123456789012345678901 is too large"},
      {"{\"prompt\": \"a\", \"temperature\": 123456789012345678901}", "temperature: expected 0 to 100"},
      {"{\"prompt\": \"a\", \"n\": " + std::string(400, '9') + ", \"a\": " + std::string(1000, '[') +
           std::string(1000, ']') + "}",
       "nested"}};
  for (const auto& [text, words] : bodies) {
    const auto [status, body] = served.post("/v1/completions", text);
    EXPECT_EQ(status, 400) << text.substr(0, 40) << body;
    EXPECT_CONTAINS(body["error"]["message"].get<std::string>(), words);
  }
}

TEST(Errors, ComeSoonWhateverTheBody) {
  const Served served;
  std::string text = R"({"messages": [{})";
  for (int i = 0; i < 300'000; ++i) text += ",{}";
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(served.post("/v1/chat/completions", text + "]}").first, 400);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST(Errors, OfNames) {
  const Served served;
  Json ask = completion("a");
  ask["model"] = "gpt-4";
  auto [status, body] = served.post("/v1/completions", ask);
  EXPECT_EQ(status, 404);
  EXPECT_EQ(body["error"]["code"], "model_not_found");
  EXPECT_EQ(body["error"]["param"], "model");
  EXPECT_CONTAINS(body["error"]["message"].get<std::string>(), "this server has 'fake'");
  std::tie(status, body) = served.post("/v1/nothing", Json::object());
  EXPECT_EQ(status, 404);
  EXPECT_EQ(body["error"]["code"], "unknown_url");
  EXPECT_EQ(served.get("/v1/completions").first, 405);
  EXPECT_EQ(served.post("/v1/models", Json::object()).first, 405);
  EXPECT_EQ(served.post("/v1/models/fake", Json::object()).first, 405);
  const auto allowed = served.client().Options("/v1/completions");
  ASSERT_TRUE(allowed);
  EXPECT_EQ(allowed->status, 204) << "a question without an origin is no browser's";
  EXPECT_EQ(allowed->get_header_value("Allow"), "POST, OPTIONS");
  EXPECT_EQ(served.client().Options("/v1/nothing")->status, 404);
}

TEST(Errors, LeaveTheConnectionInStep) {
  const Served served;
  httplib::Client client = served.client();
  client.set_keep_alive(true);
  for (int i = 0; i < 3; ++i) {
    const auto bad = client.Post("/v1/completions", "{", "application/json");
    ASSERT_TRUE(bad);
    EXPECT_EQ(bad->status, 400);
    const auto good = client.Post("/v1/completions", completion("a").dump(), "application/json");
    ASSERT_TRUE(good);
    EXPECT_EQ(good->status, 200);
  }
}

}  // namespace
}  // namespace incontext::testing

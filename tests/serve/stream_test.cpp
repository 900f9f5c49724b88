// Server-sent events.

#include "serve/served.h"

namespace incontext::testing {
namespace {

TEST(Stream, Chat) {
  const Served served;
  Json ask = chat("hi");
  ask["stream_options"] = {{"include_usage", true}};
  const std::vector<Json> events = served.stream("/v1/chat/completions", ask);
  ASSERT_EQ(events.size(), 9u);  // the role, 5 tokens, the end, usage, [DONE]
  EXPECT_EQ(events[0]["choices"][0]["delta"], (Json{{"role", "assistant"}, {"content", ""}}));
  std::string text;
  for (size_t i = 0; i < 7; ++i) {
    EXPECT_EQ(events[i]["object"], "chat.completion.chunk");
    EXPECT_EQ(events[i]["id"], events[0]["id"]);
    EXPECT_TRUE(events[i]["usage"].is_null());
    EXPECT_EQ(events[i]["choices"][0]["finish_reason"], i == 6 ? Json("length") : Json(nullptr));
    text += events[i]["choices"][0]["delta"].value("content", "");
  }
  EXPECT_EQ(text, "Hello");
  EXPECT_EQ(events[6]["choices"][0]["delta"], Json::object());
  EXPECT_EQ(events[7]["choices"], Json::array());
  EXPECT_EQ(events[7]["usage"]["total_tokens"], 8);
  EXPECT_EQ(events[7]["usage"]["cache_policy"], "full");
  EXPECT_EQ(events[7]["usage"]["cache_bytes"], 1005);
  EXPECT_EQ(events[8], "[DONE]");
}

TEST(Stream, WithoutUsageUnlessAskedFor) {
  const Served served;
  const std::vector<Json> events = served.stream("/v1/chat/completions", chat("hi"));
  ASSERT_EQ(events.size(), 8u);
  for (const Json& event : events) EXPECT_FALSE(event.is_object() && event.contains("usage"));
}

TEST(Stream, AddsUpToTheWholeAnswer) {
  const Served served;
  Json ask = completion({"a", "bc"});
  ask.update({{"n", 2}, {"echo", true}, {"logprobs", 1}});
  const Json whole = served.post("/v1/completions", ask).second;
  Json choices = Json::array();
  for (const Json& event : served.stream("/v1/completions", ask)) {
    if (!event.is_object()) continue;
    const Json& choice = event["choices"][0];
    const size_t index = choice["index"];
    while (choices.size() <= index)
      choices.push_back({{"index", choices.size()}, {"text", ""}, {"logprobs", Json::object()}});
    choices[index]["text"] = choices[index]["text"].get<std::string>() + choice["text"].get<std::string>();
    choices[index]["finish_reason"] = choice["finish_reason"];
    if (choice["logprobs"].is_null()) continue;
    for (const auto& [name, items] : choice["logprobs"].items()) {
      for (const Json& item : items) choices[index]["logprobs"][name].push_back(item);
    }
  }
  EXPECT_EQ(choices, whole["choices"]);
}

TEST(Stream, TellsOfAFailureOnTheWay) {
  Served served;
  served.backend.failure = "logits are not finite";
  const std::vector<Json> events = served.stream("/v1/chat/completions", chat("hi"));
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[1]["error"]["message"], "logits are not finite");
  const auto [status, body] = served.post("/v1/chat/completions", chat("hi"));
  EXPECT_EQ(status, 500);
  EXPECT_EQ(body["error"]["type"], "server_error");
}

}  // namespace
}  // namespace incontext::testing

// Every field that OpenAI's specification and vLLM's documentation list for the two completion routes is obeyed,
// harmless for a reason, or refused by name. None is passed over though it would change the answer.

#include "serve/served.h"

namespace incontext::testing {
namespace {

enum class Use { obeyed, harmless, refused };

struct Field {
  const char* name;
  Use use;
  Json value;             // one that would make a difference
  std::string reason;     // why it is harmless
  Json beside = nullptr;  // fields that it needs
};

const Json kTools = Json::parse(R"([{"type": "function", "function": {"name": "f"}}])");
const Json kFunction = Json::parse(R"({"type": "function", "function": {"name": "f"}})");

std::vector<Field> fields_of_both() {
  const std::string scheduling = "says when or where it is computed, not what";
  const std::string bookkeeping = "says whose the request is";
  const std::string caching = "says how its own cache is kept; answers do not depend on caches";
  const std::string alone = "means something only beside a field that is refused";
  return {// OpenAI
          {"model", Use::obeyed, "other", ""},
          {"frequency_penalty", Use::obeyed, 0.5, ""},
          {"presence_penalty", Use::obeyed, 0.5, ""},
          {"logit_bias", Use::obeyed, {{"65", 1}}, ""},
          {"max_tokens", Use::obeyed, 3, ""},
          {"n", Use::obeyed, 2, ""},
          {"seed", Use::obeyed, 8, ""},
          {"stop", Use::obeyed, "l", ""},
          {"stream", Use::obeyed, true, ""},
          {"stream_options", Use::obeyed, {{"include_usage", true}}, "", {{"stream", true}}},
          {"temperature", Use::obeyed, 0.25, ""},
          {"top_p", Use::obeyed, 0.5, ""},
          {"user", Use::harmless, "somebody", bookkeeping},
          // vLLM: how tokens are chosen
          {"top_k", Use::obeyed, 5, ""},
          {"min_p", Use::obeyed, 0.1, ""},
          {"repetition_penalty", Use::obeyed, 1.5, ""},
          {"min_tokens", Use::obeyed, 2, ""},
          {"stop_token_ids", Use::obeyed, {108}, ""},
          {"include_stop_str_in_output", Use::obeyed, true, ""},
          {"ignore_eos", Use::obeyed, true, ""},
          {"skip_special_tokens", Use::obeyed, false, ""},
          {"use_beam_search", Use::refused, true, ""},
          {"length_penalty", Use::harmless, 2, "of beams alone, which are refused"},
          {"spaces_between_special_tokens", Use::harmless, false,
           "the tokenizers library, whose texts these are, never puts any there"},
          {"truncate_prompt_tokens", Use::refused, 2, ""},
          {"prompt_logprobs", Use::refused, 0, ""},
          {"allowed_token_ids", Use::refused, {65}, ""},
          {"bad_words", Use::refused, Json::array({"Hello"}), ""},
          {"logits_processors", Use::refused, Json::array({"x"}), ""},
          {"repetition_detection", Use::refused, {{"max_pattern_size", 3}}, ""},
          {"thinking_token_budget", Use::refused, 10, ""},
          // vLLM: the form of the answer
          {"response_format", Use::refused, {{"type", "json_object"}}, ""},
          {"structured_outputs", Use::refused, {{"regex", "a"}}, ""},
          {"structural_tag", Use::refused, "{}", ""},
          {"guided_json", Use::refused, {{"type", "object"}}, ""},
          {"guided_regex", Use::refused, "a", ""},
          {"guided_choice", Use::refused, Json::array({"a"}), ""},
          {"guided_grammar", Use::refused, "a", ""},
          {"guided_decoding_backend", Use::harmless, "auto", alone},
          {"guided_whitespace_pattern", Use::harmless, " ", alone},
          {"return_tokens_as_token_ids", Use::refused, true, ""},
          {"return_token_ids", Use::refused, true, ""},
          // vLLM: the request
          {"add_special_tokens", Use::obeyed, nullptr, ""},  // below, since the routes differ
          {"priority", Use::harmless, 3, scheduling},
          {"request_id", Use::harmless, "a", bookkeeping},
          {"cache_salt", Use::refused, "a", ""},
          {"kv_transfer_params", Use::refused, {{"a", 1}}, ""},
          {"vllm_xargs", Use::refused, {{"a", 1}}, ""},
          // Ours
          {"cache", Use::obeyed, "full:f16", ""},
          // llama.cpp, which clients of the same interface send
          {"grammar", Use::refused, "root ::= \"a\"", ""},
          {"json_schema", Use::refused, {{"type", "object"}}, ""},
          {"n_predict", Use::refused, 3, ""},
          {"mirostat", Use::refused, 2, ""},
          {"typical_p", Use::refused, 0.5, ""},
          {"xtc_probability", Use::refused, 0.5, ""},
          {"dry_multiplier", Use::refused, 0.5, ""},
          {"dynatemp_range", Use::refused, 0.5, ""},
          {"cache_prompt", Use::harmless, false, caching}};
}

std::vector<Field> fields_of_chats() {
  const std::string bookkeeping = "says whose the request is, or what is kept of it elsewhere; nothing is kept here";
  const std::string caching = "says how long a cache is kept; answers do not depend on caches";
  const std::string media = "of images and sounds, which are refused";
  return {// OpenAI
          {"messages", Use::obeyed, Json::array({{{"role", "user"}, {"content", "other"}}}), ""},
          {"max_completion_tokens", Use::obeyed, 3, ""},
          {"logprobs", Use::obeyed, true, ""},
          {"top_logprobs", Use::obeyed, 2, "", {{"logprobs", true}}},
          {"tools", Use::obeyed, kTools, ""},
          {"tool_choice", Use::obeyed, "none", "", {{"tools", kTools}}},
          {"tool_choice", Use::refused, "required", "", {{"tools", kTools}}},
          {"tool_choice", Use::refused, kFunction, "", {{"tools", kTools}}},
          {"tool_choice", Use::refused, {{"type", "allowed_tools"}}, "", {{"tools", kTools}}},
          {"parallel_tool_calls", Use::refused, false, "", {{"tools", kTools}}},
          {"parallel_tool_calls", Use::harmless, false, "without tools nothing is called"},
          {"functions", Use::refused, Json::array({{{"name", "f"}}}), ""},
          {"function_call", Use::refused, {{"name", "f"}}, ""},
          {"reasoning_effort", Use::obeyed, "low", ""},
          {"verbosity", Use::refused, "low", ""},
          {"audio", Use::refused, {{"voice", "alloy"}}, ""},
          {"modalities", Use::refused, {"text", "audio"}, ""},
          {"moderation", Use::refused, {{"model", "a"}}, ""},
          {"web_search_options", Use::refused, {{"search_context_size", "low"}}, ""},
          {"metadata", Use::harmless, {{"a", "b"}}, bookkeeping},
          {"store", Use::harmless, true, bookkeeping},
          {"safety_identifier", Use::harmless, "somebody", bookkeeping},
          {"service_tier", Use::harmless, "flex", "says when it is computed, not what"},
          {"prediction", Use::harmless, {{"type", "content"}, {"content", "Hello"}}, "a guess that only saves time"},
          {"prompt_cache_key", Use::harmless, "a", caching},
          {"prompt_cache_options", Use::harmless, {{"mode", "implicit"}}, caching},
          {"prompt_cache_retention", Use::harmless, "24h", caching},
          // vLLM
          {"echo", Use::refused, true, ""},
          {"add_generation_prompt", Use::obeyed, false, ""},
          {"continue_final_message", Use::obeyed, true, ""},
          {"add_special_tokens", Use::obeyed, true, ""},
          {"documents", Use::obeyed, Json::array({{{"title", "a"}, {"text", "b"}}}), ""},
          {"chat_template", Use::refused, "{{ messages }}", ""},
          {"chat_template_kwargs", Use::obeyed, {{"enable_thinking", false}}, ""},
          {"include_reasoning", Use::refused, false, ""},
          {"mm_processor_kwargs", Use::harmless, {{"a", 1}}, media},
          {"media_io_kwargs", Use::harmless, {{"video", {{"a", 1}}}}, media}};
}

std::vector<Field> fields_of_completions() {
  return {{"prompt", Use::obeyed, "other", ""},
          {"best_of", Use::refused, 2, ""},
          {"echo", Use::obeyed, true, ""},
          {"logprobs", Use::obeyed, 1, ""},
          {"suffix", Use::refused, "a", ""},
          {"add_special_tokens", Use::obeyed, false, ""},
          {"prompt_embeds", Use::refused, "AAAA", ""}};
}

/// All that a request leads to: what the backend is asked, and the answer.
Json outcome(const Served& served, const std::string& path, const Json& ask) {
  const auto answer = served.client().Post(path, ask.dump(), "application/json");
  if (!answer) return nullptr;
  Json body = Json::parse(answer->body, nullptr, false);
  if (body.is_object()) {
    body.erase("id");
    body.erase("created");
  }
  const serve::ContinuationRequest last = served.backend.last();
  const serve::ChatPrompt chat = served.backend.last_chat();
  const decode::SamplingOptions& sampling = last.sampling;
  Json bias = Json::object();
  for (const auto& [token, value] : sampling.logit_bias) bias[std::to_string(token)] = value;
  return {
      {"status", answer->status},
      {"body", body.is_discarded() ? Json(std::count(answer->body.begin(), answer->body.end(), '\n')) : body},
      {"prompt", last.prompt},
      {"sampling",
       {sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p, sampling.repetition_penalty,
        sampling.presence_penalty, sampling.frequency_penalty, sampling.seed, bias}},
      {"end", {last.max_tokens, last.min_tokens, last.stop, last.stop_token_ids, last.include_stop, last.ignore_eos}},
      {"text", {last.skip_special_tokens, last.cache, last.top_logprobs, last.prompt_logprobs}},
      {"chat", {chat.messages, chat.tools, chat.variables, static_cast<int>(chat.end), chat.add_special_tokens}}};
}

void expect_use(const std::string& path, const Json& plain, const std::vector<Field>& fields) {
  const Served served;
  for (const Field& field : fields) {
    if (field.value.is_null()) continue;
    SCOPED_TRACE(path + " " + field.name + ": " + field.value.dump());
    Json without = plain;
    if (!field.beside.is_null()) without.update(field.beside);
    Json with = without;
    with[field.name] = field.value;
    const Json before = outcome(served, path, without), after = outcome(served, path, with);
    ASSERT_EQ(before["status"], 200) << before;
    if (field.use == Use::refused) {
      EXPECT_EQ(after["status"], 400) << after["body"];
      EXPECT_EQ(after["body"]["error"]["param"], field.name);
      EXPECT_CONTAINS(after["body"]["error"]["message"].get<std::string>(), field.name);
      // Null says nothing.
      with[field.name] = nullptr;
      EXPECT_EQ(outcome(served, path, with), before);
    } else if (field.use == Use::harmless) {
      EXPECT_EQ(after, before);
      EXPECT_FALSE(field.reason.empty());
    } else {
      EXPECT_NE(after, before);
      if (std::string(field.name) != "model") {
        EXPECT_EQ(after["status"], 200) << after["body"];
      }
    }
  }
}

TEST(RequestFields, OfChatsAreObeyedHarmlessOrRefused) {
  Json plain = chat("hi");
  plain["seed"] = 7;
  expect_use("/v1/chat/completions", plain, fields_of_both());
  expect_use("/v1/chat/completions", plain, fields_of_chats());
}

TEST(RequestFields, OfCompletionsAreObeyedHarmlessOrRefused) {
  Json plain = completion("hi");
  plain["seed"] = 7;
  expect_use("/v1/completions", plain, fields_of_both());
  expect_use("/v1/completions", plain, fields_of_completions());
}

// What clients send for completeness and what means nothing else than nothing.
TEST(RequestFields, PassWhereTheyAskForWhatIsDoneAnyway) {
  const Served served;
  for (const Json& more : std::vector<Json>{{{"functions", Json::array()}},
                                            {{"function_call", "auto"}},
                                            {{"tool_choice", "auto"}},
                                            {{"modalities", {"text"}}},
                                            {{"verbosity", "medium"}},
                                            {{"use_beam_search", false}},
                                            {{"bad_words", Json::array()}},
                                            {{"include_reasoning", true}},
                                            {{"echo", false}},
                                            {{"return_token_ids", false}},
                                            {{"response_format", {{"type", "text"}}}},
                                            {{"parallel_tool_calls", true}, {"tools", kTools}},
                                            {{"stream", true}, {"stream_options", {{"include_obfuscation", false}}}}}) {
    Json ask = chat("hi");
    ask.update(more);
    EXPECT_EQ(served.post("/v1/chat/completions", ask).first, 200) << more;
  }
  Json ask = completion("hi");
  ask.update({{"best_of", 1}, {"suffix", ""}});
  EXPECT_EQ(served.post("/v1/completions", ask).first, 200);
}

TEST(RequestFields, SeedMinusOneDrawsOne) {
  const Served served;
  Json ask = completion("a");
  std::set<uint64_t> seeds;
  for (int i = 0; i < 3; ++i) {
    ask["seed"] = -1;
    ASSERT_EQ(served.post("/v1/completions", ask).first, 200);
    seeds.insert(served.backend.last().sampling.seed);
  }
  EXPECT_GT(seeds.size(), 1u);
  EXPECT_FALSE(seeds.contains(UINT64_MAX));
  ask["seed"] = -2;
  ASSERT_EQ(served.post("/v1/completions", ask).first, 200);
  EXPECT_EQ(served.backend.last().sampling.seed, UINT64_MAX - 1);
}

TEST(RequestFields, NameTheEndOfAPrompt) {
  const Served served;
  const auto end_of = [&](const std::string& path, const Json& more) {
    Json ask = chat("hi");
    ask.update(more);
    EXPECT_EQ(served.post(path, ask).first, 200) << more;
    return served.backend.last_chat().end;
  };
  for (const std::string path : {"/v1/chat/completions", "/tokenize"}) {
    EXPECT_EQ(end_of(path, Json::object()), text::ChatEnd::next_turn);
    EXPECT_EQ(end_of(path, {{"add_generation_prompt", true}}), text::ChatEnd::next_turn);
    EXPECT_EQ(end_of(path, {{"add_generation_prompt", false}}), text::ChatEnd::last_message);
    EXPECT_EQ(end_of(path, {{"continue_final_message", true}}), text::ChatEnd::open_message);
    EXPECT_EQ(end_of(path, {{"continue_final_message", true}, {"add_generation_prompt", false}}),
              text::ChatEnd::open_message);
    end_of(path, {{"chat_template_kwargs", {{"enable_thinking", false}}}});
    EXPECT_EQ(served.backend.last_chat().variables, (Json{{"enable_thinking", false}}));
  }
  Json both = chat("hi");
  both.update({{"continue_final_message", true}, {"add_generation_prompt", true}});
  const auto [status, body] = served.post("/v1/chat/completions", both);
  EXPECT_EQ(status, 400);
  EXPECT_EQ(body["error"]["param"], "continue_final_message");
}

TEST(RequestFields, OfTheEndAreChecked) {
  const Served served;
  const auto refused = [&](const Json& more) {
    Json ask = completion("a");
    ask.update(more);
    return served.post("/v1/completions", ask).second["error"].value("param", "none");
  };
  EXPECT_EQ(refused({{"min_tokens", 6}}), "min_tokens") << "more than max_tokens";
  EXPECT_EQ(refused({{"min_tokens", -1}}), "min_tokens");
  EXPECT_EQ(refused({{"stop_token_ids", {257}}}), "stop_token_ids");
  EXPECT_EQ(refused({{"stop_token_ids", "a"}}), "stop_token_ids");
  EXPECT_EQ(refused({{"stop_token_ids", std::vector<int>(1025, 7)}}), "stop_token_ids");
  EXPECT_EQ(refused({{"stream", true}, {"stream_options", {{"continuous_usage_stats", true}}}}),
            "stream_options.continuous_usage_stats");
}

}  // namespace
}  // namespace incontext::testing

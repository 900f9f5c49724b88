// The program itself with a trained model: `incontext serve` as its clients see it.

#include <gtest/gtest.h>
#include <httplib.h>

#include <atomic>
#include <csignal>
#include <filesystem>
#include <future>
#include <mutex>
#include <thread>

#include "base/config_node.h"
#include "support/command.h"
#include "support/errors.h"
#include "support/shared_model.h"
#include "support/temporary_directory.h"

namespace incontext::testing {
namespace {

namespace fs = std::filesystem;
using base::Json;

/// `incontext serve` in a process of its own, until a signal.
class Program {
 public:
  explicit Program(const fs::path& model, std::vector<std::string> flags = {}, int signal = SIGTERM) {
    std::vector<std::string> command = {INCONTEXT_BINARY_DIR "/incontext", "serve", model.string(), "--port", "0"};
    command.insert(command.end(), flags.begin(), flags.end());
    result_ = std::async(std::launch::async, [this, command, signal] {
      CommandOptions options;
      options.signal = signal;
      options.signal_when = [this](const std::string& out, const std::string&) {
        const size_t at = out.find("127.0.0.1:");
        if (at != std::string::npos && out.ends_with("\n")) port_ = std::atoi(out.c_str() + at + 10);
        return stop_.load();
      };
      const CommandResult result = run_command(command, options);
      over_ = true;
      return result;
    });
    while (port_ == 0 && !over_) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    // A first request alone: the thread sanitizer reports the HTTP library's first use by two threads at once. It does
    // not see that library's own locks and guards.
    if (!over_) client().Get("/health");
  }

  ~Program() { stop_ = true; }

  void send_signal() { stop_ = true; }
  CommandResult wait() { return result_.get(); }

  httplib::Client client() const {
    httplib::Client client("127.0.0.1", port_);
    client.set_read_timeout(60);
    return client;
  }

  Json complete(const Json& ask) const {
    const auto answer = client().Post("/v1/completions", ask.dump(), "application/json");
    return answer ? Json::parse(answer->body, nullptr, false) : Json();
  }

  std::string streamed(Json ask) const {
    ask["stream"] = true;
    const auto answer = client().Post("/v1/completions", ask.dump(), "application/json");
    std::string text;
    size_t at = 0;
    while (answer && (at = answer->body.find("data: {", at)) != std::string::npos) {
      const size_t end = answer->body.find("\n\n", at);
      text += Json::parse(answer->body.substr(at + 6, end - at - 6))["choices"][0].value("text", "");
      at = end;
    }
    return text;
  }

  double metric(const std::string& name) const {
    const auto answer = client().Get("/metrics");
    const size_t at = answer ? answer->body.find("\n" + name + " ") : std::string::npos;
    return at == std::string::npos ? -1 : std::atof(answer->body.c_str() + at + name.size() + 2);
  }

 private:
  std::atomic<int> port_{0};
  std::atomic<bool> stop_{false}, over_{false};
  std::future<CommandResult> result_;
};

class ServeProgram : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(stories())) GTEST_SKIP() << without_stories();
  }

  static Json story(const std::string& prompt, int tokens = 40) {
    return {{"prompt", prompt}, {"max_tokens", tokens}, {"temperature", 0}};
  }
};

TEST_F(ServeProgram, ManyClientsGetWhatOneGetsAlone) {
  Program program(stories());
  const std::vector<std::string> prompts = {"Once upon a time", "Lily and Ben", "The dog", "One day, a girl"};
  std::vector<std::string> alone;
  for (const std::string& prompt : prompts) alone.push_back(program.streamed(story(prompt)));
  EXPECT_GT(alone[0].size(), 40u) << alone[0];
  EXPECT_EQ(program.complete(story(prompts[0]))["choices"][0]["text"], alone[0]);
  std::vector<std::future<std::string>> together;
  for (size_t i = 0; i < 16; ++i) {
    together.push_back(std::async(std::launch::async, [&, i] { return program.streamed(story(prompts[i % 4])); }));
  }
  for (size_t i = 0; i < 16; ++i) EXPECT_EQ(together[i].get(), alone[i % 4]) << i;
  program.send_signal();
  const CommandResult result = program.wait();
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(std::count(result.out.begin(), result.out.end(), '\n'), 1) << result.out;
}

// Each token's log-probability is the one that the same token has when it is generated.
TEST_F(ServeProgram, PromptLogprobsAreThoseOfGeneration) {
  Program program(stories());
  Json ask = story("Once upon a time", 12);
  ask["logprobs"] = 2;
  const Json generated = program.complete(ask)["choices"][0];
  Json echo = {{"prompt", "Once upon a time" + generated["text"].get<std::string>()},
               {"max_tokens", 1},
               {"logprobs", 2},
               {"echo", true},
               {"temperature", 0}};
  const Json scored = program.complete(echo)["choices"][0]["logprobs"];
  const Json& values = generated["logprobs"]["token_logprobs"];
  ASSERT_EQ(values.size(), 12u);
  ASSERT_GT(scored["token_logprobs"].size(), 13u);
  const size_t first = scored["token_logprobs"].size() - 1 - values.size();
  for (size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(scored["tokens"][first + i], generated["logprobs"]["tokens"][i]);
    EXPECT_NEAR(scored["token_logprobs"][first + i].get<double>(), values[i].get<double>(), 1e-4);
  }
  EXPECT_TRUE(scored["token_logprobs"][0].is_null());
  echo["prompt"] = "Once upon";
  EXPECT_EQ(program.complete(echo)["choices"][0]["text"], "Once upon a") << "the space before the token is kept";
}

// One token is asked for and one is scored, also where it is the end: what scores texts takes the last one away.
TEST_F(ServeProgram, TheEndOfATextIsScored) {
  Program program(stories());
  const std::string prompt = "Once upon a time, there was a girl.";
  const Json told = program.complete(story(prompt, 450))["choices"][0];
  ASSERT_EQ(told["finish_reason"], "stop");
  Json ask = story(prompt + told["text"].get<std::string>(), 1);
  ask.update({{"logprobs", 1}, {"echo", true}});
  const Json scored = program.complete(ask);
  EXPECT_EQ(scored["choices"][0]["finish_reason"], "stop");
  const Json& tokens = scored["choices"][0]["logprobs"]["tokens"];
  EXPECT_EQ(tokens.size(), scored["usage"]["prompt_tokens"].get<size_t>() + 1);
  EXPECT_TRUE(tokens.back() == "<s>" || tokens.back() == "</s>") << tokens.back();
}

// As vLLM does, whose fields these are.
TEST_F(ServeProgram, EndsWhereARequestSays) {
  Program program(stories());
  const auto choice = [&](const Json& more) {
    Json ask = story("Once upon a time", 12);
    ask["logprobs"] = 1;
    ask.update(more);
    const Json whole = program.complete(ask), one = whole["choices"][0];
    EXPECT_EQ(program.streamed(ask), one["text"]);
    return one;
  };
  const Json plain = choice(Json::object());
  const Json tokens = plain["logprobs"]["tokens"];
  const Json piece = Json::parse(
      program.client().Post("/tokenize", R"({"content": "Once upon a time, there"})", "application/json")->body);
  const int64_t fifth = piece["tokens"][5].get<int64_t>();  // ","
  EXPECT_EQ(tokens[0], ",");
  const Json stopped = choice({{"stop_token_ids", {fifth}}});
  EXPECT_EQ(stopped["text"], "");
  EXPECT_EQ(stopped["finish_reason"], "stop");
  EXPECT_EQ(choice({{"stop_token_ids", {fifth}}, {"include_stop_str_in_output", true}})["text"], ",");
  EXPECT_EQ(choice({{"stop_token_ids", {fifth}}, {"ignore_eos", true}})["text"], "");
  const Json late = choice({{"stop_token_ids", {fifth}}, {"min_tokens", 4}});
  EXPECT_GE(late["logprobs"]["tokens"].size(), 4u);
  EXPECT_NE(late["logprobs"]["tokens"][0], ",");
  EXPECT_EQ(choice({{"stop", "there"}})["text"], ", ");
  EXPECT_EQ(choice({{"stop", "there"}, {"include_stop_str_in_output", true}})["text"], ", there");
  EXPECT_EQ(choice({{"stop", "there"}, {"min_tokens", 5}})["text"].get<std::string>().find(", there"), 0u);
  // Special tokens are shown where that is asked for.
  Json long_story = story("Once upon a time, there was a girl.", 450);
  const Json told = program.complete(long_story)["choices"][0];
  ASSERT_EQ(told["finish_reason"], "stop");
  long_story.update({{"include_stop_str_in_output", true}, {"skip_special_tokens", false}});
  const auto with_end = program.complete(long_story)["choices"][0]["text"].get<std::string>();
  EXPECT_TRUE(with_end == told["text"].get<std::string>() + "<s>" ||
              with_end == told["text"].get<std::string>() + "</s>")
      << with_end;
}

TEST_F(ServeProgram, AVanishedClientFreesItsCache) {
  Program program(stories());
  Json ask = story("Once upon a time", 450);
  ask.update({{"stream", true}, {"n", 16}, {"ignore_eos", true}});
  httplib::Request request;
  request.method = "POST";
  request.path = "/v1/completions";
  request.body = ask.dump();
  request.content_receiver = [](const char*, size_t, uint64_t, uint64_t) { return false; };
  {
    httplib::Client client = program.client();
    httplib::Response response;
    httplib::Error error;
    EXPECT_FALSE(client.send(request, response, error));
    EXPECT_GT(program.metric("incontext_requests_running"), 0);
  }
  const auto left = std::chrono::steady_clock::now();
  while (program.metric("incontext_requests_running") > 0) {
    ASSERT_LT(std::chrono::steady_clock::now() - left, std::chrono::seconds(10));
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - left, std::chrono::seconds(1));
  EXPECT_EQ(program.metric("incontext_cache_bytes{policy=\"full\"}"), -1) << "no running cache is told of";
  EXPECT_EQ(program.metric("incontext_continuations_total{finish=\"cancelled\"}"), 16);
}

TEST_F(ServeProgram, StopsAfterWhatRuns) {
  for (const int signal : {SIGTERM, SIGINT}) {
    Program program(stories(), {}, signal);
    Json ask = story("Once upon a time", 400);
    ask["ignore_eos"] = true;
    auto answer = std::async(std::launch::async, [&] { return program.complete(ask); });
    while (program.metric("incontext_requests_running") < 1) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    program.send_signal();
    EXPECT_EQ(answer.get()["usage"]["completion_tokens"], 400);
    const CommandResult result = program.wait();
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_FALSE(result.timed_out);
  }
}

TEST_F(ServeProgram, ChatsByTheTemplateOfTheFolder) {
  const TemporaryDirectory place;
  fs::copy(stories(), place / "story");
  fs::permissions(place / "story", fs::perms::owner_all);
  fs::copy_file(INCONTEXT_SOURCE_DIR "/tests/golden/text/templates/zephyr.jinja", place / "story/chat_template.jinja");
  Program program(place / "story");
  const auto chat = [&](const Json& messages) {
    const Json ask = {{"model", "story"}, {"messages", messages}, {"max_tokens", 5}, {"logprobs", true}};
    return Json::parse(program.client().Post("/v1/chat/completions", ask.dump(), "application/json")->body);
  };
  const Json good = chat(Json::array({{{"role", "user"}, {"content", "Tell me a story"}}}));
  EXPECT_EQ(good["object"], "chat.completion") << good;
  std::string tokens;
  for (const Json& each : good["choices"][0]["logprobs"]["content"]) tokens += each["token"].get<std::string>();
  EXPECT_EQ(good["choices"][0]["message"]["content"], tokens) << "nothing of the prompt";
  // A turn that is continued, and the routes agree on what its prompt is.
  const auto post = [&](const std::string& path, const Json& ask) {
    return Json::parse(program.client().Post(path, ask.dump(), "application/json")->body);
  };
  const auto prompt_of = [&](const Json& more) {
    Json ask = {{"messages", Json::array({{{"role", "user"}, {"content", "Tell"}},
                                          {{"role", "assistant"}, {"content", "Once upon a"}}})}};
    ask.update(more);
    const Json tokenized = post("/tokenize", ask);
    ask["max_tokens"] = 1;
    EXPECT_EQ(post("/v1/chat/completions", ask)["usage"]["prompt_tokens"], tokenized["count"]) << tokenized;
    return post("/detokenize", {{"tokens", tokenized["tokens"]}})["content"].get<std::string>();
  };
  const auto turns = [](const std::string& prompt) {
    size_t count = 0;
    for (size_t at = prompt.find("<|assistant|>"); at != std::string::npos; at = prompt.find("<|assistant|>", at + 1))
      ++count;
    return count;
  };
  const std::string open = prompt_of({{"continue_final_message", true}});
  EXPECT_TRUE(open.ends_with("<|assistant|>\nOnce upon a")) << open;
  const std::string closed = prompt_of({{"add_generation_prompt", false}}), next = prompt_of(Json::object());
  EXPECT_FALSE(closed.ends_with("Once upon a")) << closed;
  EXPECT_EQ(turns(closed), 1u) << closed;
  EXPECT_EQ(turns(next), 2u) << next;
}

// --cache repeats: the first is what silent requests have.
TEST_F(ServeProgram, OffersCaches) {
  Program program(stories(), {"--cache", "q8_0", "--cache", "streaming:tail=16"});
  const Json usage = program.complete(story("Once upon a time"))["usage"];
  EXPECT_TRUE(usage["cache_policy"].get<std::string>().starts_with("q8_0")) << usage;
  EXPECT_GT(usage["cache_bytes"].get<int64_t>(), 0);
  const Json caches = Json::parse(program.client().Get("/v1/models")->body)["data"][0]["caches"];
  ASSERT_GE(caches.size(), 3U);
  EXPECT_EQ(caches[0], "q8_0");
  EXPECT_EQ(caches[1], "streaming:tail=16");
  Json other = story("Once upon a time");
  other["cache"] = "lexico:dictionary=/no/such/file";
  EXPECT_CONTAINS(program.complete(other)["error"]["message"].get<std::string>(), "is not offered here; offered: ");
}

TEST_F(ServeProgram, TellsWhatIsWrongBeforeItServes) {
  const auto error_with = [](std::vector<std::string> flags) {
    flags.insert(flags.begin(), {INCONTEXT_BINARY_DIR "/incontext", "serve", stories().string(), "--port", "0"});
    const CommandResult result = run_command(flags);
    EXPECT_NE(result.status, 0);
    EXPECT_EQ(result.out, "");
    return result.err;
  };
  EXPECT_CONTAINS(error_with({"--cache", "nothing"}), "nothing");
  EXPECT_CONTAINS(error_with({"--cache", "full", "--cache", "lexico:dictionary=/no/such"}), "/no/such");
  EXPECT_CONTAINS(error_with({"--cache", "full", "--cache", "full:f16"}), "'full' and 'full:f16' are the same");
  EXPECT_CONTAINS(error_with({"--api-key-file", "/no/such/file"}), "/no/such/file");
  EXPECT_CONTAINS(error_with({"--tls-cert", "/no"}), "--tls-key");
  EXPECT_CONTAINS(error_with({"--host", "256.0.0.1"}), "cannot listen on 256.0.0.1");
}

}  // namespace
}  // namespace incontext::testing

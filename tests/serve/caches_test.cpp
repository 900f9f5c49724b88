// Caches of all policies through the server, before a real engine and a small random model.

#include <gtest/gtest.h>
#include <httplib.h>

#include <atomic>
#include <future>
#include <memory>

#include "base/file.h"
#include "decode/engine_options.h"
#include "decode/opened_model.h"
#include "serve/engine_backend.h"
#include "serve/served.h"
#include "support/temporary_directory.h"
#include "support/wide_model.h"
#include "tensor/device.h"
#include "text/byte_tokenizer.h"

namespace incontext::testing {
namespace {

class ServedCaches : public ::testing::Test {
 protected:
  ServedCaches() {
    tensor::set_kernel_threads(1);  // so little work is slower with more
    write_wide_model(place_ / "", 257);
    base::write_file_atomic(place_ / "tokenizer.json", text::byte_tokenizer_json());
    base::write_file_atomic(place_ / "tokenizer_config.json", text::byte_tokenizer_config_json());
    opened_ = decode::open_model(place_ / "", {});
    write_random_dictionary(dictionary_, opened_.model->cached_model(), 128);
  }

  void serve(const decode::EngineOptions& engine, const std::vector<std::string>& caches) {
    serve::ServerOptions options;
    options.port = 0;
    server_ = std::make_unique<serve::Server>(options);
    backend_ = serve::make_engine_backend(opened_, engine, {"wide"}, caches);
    server_->serve(*backend_);
    client().Get("/health");  // alone (program_test.cpp)
  }

  httplib::Client client() const {
    httplib::Client client("127.0.0.1", server_->port());
    client.set_read_timeout(60);
    return client;
  }

  static Json ask(const std::string& policy, int64_t prompt, int64_t max_tokens, int64_t start = 0) {
    std::vector<int64_t> tokens;
    for (int64_t i = 0; i < prompt; ++i) tokens.push_back((i * i + 7 * i + start * 13) % 256);
    return {{"prompt", tokens},   {"max_tokens", max_tokens}, {"temperature", 0},
            {"ignore_eos", true}, {"cache", policy},          {"logprobs", 1}};
  }

  std::pair<int, Json> complete(const Json& asked) const {
    const auto answer = client().Post("/v1/completions", asked.dump(), "application/json");
    if (!answer) return {-1, nullptr};
    return {answer->status, Json::parse(answer->body, nullptr, false)};
  }

  /// The tokens of a stream with their log-probabilities, or what went wrong.
  Json streamed(Json asked) const {
    asked["stream"] = true;
    const auto answer = client().Post("/v1/completions", asked.dump(), "application/json");
    if (!answer || answer->status != 200) return answer ? answer->body : "no answer";
    Json scores = Json::array();
    size_t at = 0;
    while ((at = answer->body.find("data: {", at)) != std::string::npos) {
      const size_t end = answer->body.find("\n\n", at);
      const Json event = Json::parse(answer->body.substr(at + 6, end - at - 6));
      if (event.contains("error")) return event["error"];
      const Json& logprobs = event["choices"][0]["logprobs"];
      if (!logprobs.is_null()) scores.push_back({logprobs["tokens"], logprobs["token_logprobs"]});
      at = end;
    }
    return scores;
  }

  std::string metrics() const { return client().Get("/metrics")->body; }

  TemporaryDirectory place_;
  decode::OpenedModel opened_;
  const std::string dictionary_ = (place_ / "dictionary").string();
  const std::string lexico_ = "lexico:tail=32,sparsity=4,dictionary=" + dictionary_;
  std::unique_ptr<serve::Backend> backend_;  // outlives the server
  std::unique_ptr<serve::Server> server_;
};

TEST_F(ServedCaches, AreListedAndToldWithAnswers) {
  serve({}, {lexico_, "kivi:tail=32"});
  const Json caches = Json::parse(client().Get("/v1/models")->body)["data"][0]["caches"];
  EXPECT_EQ(caches[0], lexico_);
  EXPECT_EQ(caches[1], "kivi:tail=32");
  EXPECT_EQ(std::count(caches.begin(), caches.end(), "full"), 1);
  EXPECT_EQ(std::count(caches.begin(), caches.end(), "lexico"), 0);
  Json silent = ask("", 600, 20);
  silent.erase("cache");
  const Json usage = complete(silent).second["usage"], full = complete(ask("full", 600, 20)).second["usage"];
  EXPECT_CONTAINS(usage["cache_policy"].get<std::string>(), "dictionary=" + dictionary_);
  EXPECT_EQ(full["cache_policy"], "full");
  EXPECT_GT(usage["cache_bytes"].get<int64_t>(), 0);
  EXPECT_LT(usage["cache_bytes"].get<int64_t>() * 3, full["cache_bytes"].get<int64_t>());
  for (const std::string& spelling : {lexico_, std::string("lexico")}) {
    const auto [status, body] = complete(ask(spelling, 600, 20));
    EXPECT_EQ(status, 200) << body;
    EXPECT_EQ(body["usage"]["cache_policy"], usage["cache_policy"]);
  }
  const std::string fixed = "incontext_cache_fixed_bytes{policy=\"" + usage["cache_policy"].get<std::string>() + "\"} ";
  EXPECT_CONTAINS(metrics(), fixed);
}

// A client must not make the server open files, nor learn from its answers which there are.
TEST_F(ServedCaches, FilesThatWereNotGivenAreRefused) {
  const auto refusal = [&](const std::string& policy) {
    const auto [status, body] = complete(ask(policy, 20, 5));
    EXPECT_EQ(status, 400) << policy;
    if (status != 400) return std::string();
    EXPECT_EQ(body["error"]["param"], "cache");
    std::string message = body["error"]["message"];
    EXPECT_EQ(message.find('\n'), std::string::npos);
    const size_t at = message.find(policy);
    return at == std::string::npos ? message : message.replace(at, policy.size(), "POLICY");
  };
  serve({}, {"full"});
  const std::string there = refusal(lexico_), absent = refusal("lexico:dictionary=/no/such/file");
  EXPECT_EQ(there, absent);
  EXPECT_CONTAINS(there, "cache: cache policy 'POLICY' is not offered here; offered: the kinds full, q8_0, q4_0");
  EXPECT_EQ(refusal("lexico"), there);
  EXPECT_CONTAINS(refusal("fulll"), "did you mean 'full'?");
  EXPECT_CONTAINS(refusal("kivi:bits=3"), "bits");
  EXPECT_EQ(complete(ask("kivi:bits=4", 20, 5)).first, 200);
}

TEST_F(ServedCaches, ManyClientsWithMixedPoliciesGetWhatEachGetsAlone) {
  const std::vector<std::string> policies = {
      "full", "q8_0", "q4_0", "kivi:tail=32", "lexico", "snapkv:window=8,budget=40", "streaming:tail=32"};
  serve({.max_batch = 24, .prefix_memory = 0}, {"full", lexico_});
  constexpr size_t kClients = 32, kRounds = 3;
  const auto asked = [&](size_t client, size_t round) {
    const auto number = static_cast<int64_t>(client % 4 + 4 * round);  // some prompts come several times at once
    return ask(policies[client % policies.size()], 60 + 37 * (number % 5), 30 + number % 3, number);
  };
  std::map<std::string, Json> alone;
  for (size_t client = 0; client < kClients; ++client) {
    for (size_t round = 0; round < kRounds; ++round) {
      Json& expected = alone[asked(client, round).dump()];
      if (expected.is_null()) expected = streamed(asked(client, round));
      ASSERT_GE(expected.size(), 30U) << expected;
    }
  }
  std::atomic<int64_t> most{0};
  std::atomic<bool> over{false};
  std::future<void> watch = std::async(std::launch::async, [&] {
    while (!over) {
      const serve::BackendStatus status = backend_->status();
      most = std::max<int64_t>(most, static_cast<int64_t>(status.cache_bytes.size()));
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  std::vector<std::future<size_t>> clients;
  for (size_t client = 0; client < kClients; ++client) {
    clients.push_back(std::async(std::launch::async, [&, client] {
      size_t same = 0;
      for (size_t round = 0; round < kRounds; ++round) {
        const Json one = asked(client, round), got = streamed(one);
        if (got == alone.at(one.dump())) ++same;
      }
      return same;
    }));
  }
  for (size_t client = 0; client < kClients; ++client) {
    EXPECT_EQ(clients[client].get(), kRounds) << "client " << client << ", " << policies[client % policies.size()];
  }
  over = true;
  watch.get();
  EXPECT_GE(most, 4) << "policies that ran at once";
  EXPECT_TRUE(soon([&] { return metrics().find("\nincontext_cache_bytes{") == std::string::npos; })) << metrics();
  EXPECT_CONTAINS(metrics(), "\nincontext_requests_running 0\n");
  EXPECT_CONTAINS(metrics(), "\nincontext_prefix_cache_bytes 0\n");
}

TEST_F(ServedCaches, MemoryAdmitsMoreOfTheSmallerOnes) {
  const auto full = cache::open_kind({.kind = "full"}, opened_.model->cached_model());
  const int64_t memory = 2 * opened_.model->decoder().sequence_bytes(*full, 4000);
  serve({.max_batch = 16, .cache_memory = memory, .prefix_memory = 0}, {"full", lexico_});
  const auto running_at_once = [&](const std::string& policy) {
    Json many = ask(policy, 40, 3960);
    many.update({{"n", 12}, {"stream", true}});
    std::atomic<bool> leave{false};
    std::future<void> stream = std::async(std::launch::async, [&] {
      httplib::Request request;
      request.method = "POST";
      request.path = "/v1/completions";
      request.body = many.dump();
      request.content_receiver = [&](const char*, size_t, uint64_t, uint64_t) { return !leave; };
      httplib::Client asking = client();
      httplib::Response response;
      httplib::Error error;
      asking.send(request, response, error);
    });
    // They wait for the first one's prompt, and are then admitted as far as there is room.
    int64_t most = 0;
    for (int look = 0; look < 100; ++look) {
      const serve::BackendStatus status = backend_->status();
      most = std::max(most, status.running);
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    leave = true;
    stream.get();
    EXPECT_TRUE(soon([&] { return backend_->status().running + backend_->status().waiting == 0; }));
    return most;
  };
  EXPECT_EQ(running_at_once("full"), 2);
  EXPECT_EQ(running_at_once("q8_0"), 3);
  EXPECT_EQ(running_at_once("q4_0"), 6);
  EXPECT_EQ(running_at_once("lexico"), 12);
}

}  // namespace
}  // namespace incontext::testing

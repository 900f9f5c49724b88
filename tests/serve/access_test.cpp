// Keys, origins and limits.

#include "serve/served.h"

namespace incontext::testing {
namespace {

using Headers = httplib::Headers;

TEST(Keys, GuardEveryRouteButHealth) {
  const Served served({.keys = {"one", "two"}});
  const std::string ask = completion("a").dump();
  for (const char* path : {"/", "/metrics", "/v1/models", "/v1/models/fake"}) {
    EXPECT_EQ(served.get(path).first, 401) << path;
    EXPECT_EQ(served.get(path, {{"Authorization", "Bearer two"}}).first, 200) << path;
  }
  for (const char* path : {"/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize"}) {
    EXPECT_EQ(served.post(path, ask).first, 401) << path;
    EXPECT_NE(served.post(path, ask, {{"Authorization", "Bearer two"}}).first, 401) << path;
  }
  EXPECT_EQ(served.get("/health").first, 200);
  for (const char* wrong : {"Bearer ", "Bearer on", "one", "Basic one", "Bearer three"}) {
    const auto [status, body] = served.post("/v1/completions", ask, {{"Authorization", wrong}});
    EXPECT_EQ(status, 401) << wrong;
    EXPECT_EQ(body["error"]["code"], "invalid_api_key");
  }
  for (const char* right : {"bearer two", "BEARER two", "Bearer   two", "bEaReR  two  ", "basic  dXNlcjpvbmU="}) {
    EXPECT_EQ(served.get("/v1/models", {{"Authorization", right}}).first, 200) << right;
  }
  for (const char* wrong : {"Bearertwo", "Bearer two three", "Bearer TWO", "Token two", "two", " two", "Bearer"}) {
    EXPECT_EQ(served.get("/v1/models", {{"Authorization", wrong}}).first, 401) << wrong;
  }
  // As browsers send a password: user:one.
  EXPECT_EQ(served.get("/", {{"Authorization", "Basic dXNlcjpvbmU="}}).first, 200);
  EXPECT_EQ(served.get("/", {{"Authorization", "Basic dXNlcjp0aHJlZQ=="}}).first, 401);
  EXPECT_TRUE(served.client().Get("/")->has_header("WWW-Authenticate"));
}

TEST(Keys, ARefusedBodyLeavesTheConnectionInStep) {
  const Served served({.keys = {"one"}});
  httplib::Client client = served.client();
  client.set_keep_alive(true);
  EXPECT_EQ(client.Post("/v1/completions", completion("a").dump(), "application/json")->status, 401);
  client.set_bearer_token_auth("one");
  EXPECT_EQ(client.Post("/v1/completions", completion("a").dump(), "application/json")->status, 200);
}

TEST(Origins, AreRefusedUnlessAllowed) {
  const Served served({.cors_origins = {"https://good.example"}});
  const std::string ask = completion("a").dump();
  EXPECT_EQ(served.post("/v1/completions", ask, {{"Origin", "https://bad.example"}}).first, 403);
  EXPECT_EQ(served.post("/v1/completions", ask, {{"Origin", "null"}}).first, 403);
  const std::string own = "127.0.0.1:" + std::to_string(served.server.port());
  EXPECT_EQ(served.post("/v1/completions", ask, {{"Origin", "http://" + own}}).first, 200) << "our own page";
  const auto good =
      served.client().Post("/v1/completions", {{"Origin", "https://good.example"}}, ask, "application/json");
  EXPECT_EQ(good->status, 200);
  EXPECT_EQ(good->get_header_value("Access-Control-Allow-Origin"), "https://good.example");
  const auto none = served.client().Post("/v1/completions", ask, "application/json");
  EXPECT_FALSE(none->has_header("Access-Control-Allow-Origin"));

  const auto before = served.client().Options(
      "/v1/completions", Headers{{"Origin", "https://good.example"}, {"Access-Control-Request-Headers", "x-one"}});
  EXPECT_EQ(before->status, 204);
  EXPECT_EQ(before->get_header_value("Access-Control-Allow-Headers"), "x-one");
  const auto refused = served.client().Options("/v1/completions", Headers{{"Origin", "https://bad.example"}});
  EXPECT_EQ(refused->status, 403);
  EXPECT_FALSE(refused->has_header("Access-Control-Allow-Origin"));
}

TEST(Origins, ForeignNamesForThisMachineAreRefused) {
  const Served served;
  EXPECT_EQ(served.get("/v1/models", {{"Host", "evil.example"}}).first, 403);
  EXPECT_EQ(served.get("/v1/models", {{"Host", "localhost:1"}}).first, 200);
  for (const std::string mine : {"localhost", "LOCALHOST.", "a.localhost:8080", "127.3.2.1", "[::1]:8080"}) {
    EXPECT_EQ(served.get("/v1/models", {{"Host", mine}}).first, 200) << mine;
    EXPECT_EQ(served.get("/v1/models", {{"Host", mine}, {"Origin", "http://" + mine}}).first, 200) << mine;
  }
  for (const std::string foreign : {"127.0.0.1.evil.example", "127.0.0.1.evil.example:8080", "localhost.evil.example",
                                    "[::2]", "user@localhost", "localhost:x", "128.0.0.1", "::1"}) {
    EXPECT_EQ(served.get("/v1/models", {{"Host", foreign}}).first, 403) << foreign;
    EXPECT_EQ(served.get("/v1/models", {{"Host", foreign}, {"Origin", "http://" + foreign}}).first, 403) << foreign;
    EXPECT_EQ(served.get("/v1/models", {{"Host", "localhost"}, {"Origin", "http://" + foreign}}).first, 403) << foreign;
  }
  const Served guarded({.keys = {"one"}});
  EXPECT_EQ(guarded.get("/v1/models", {{"Host", "proxy.example"}, {"Authorization", "Bearer one"}}).first, 200);
}

// However the address was written that is listened on.
TEST(Origins, AreLookedAtWhereOnlyThisMachineReachesTheServer) {
  for (const char* host : {"127.0.0.1", "127.1", "localhost"}) {
    const Served served({.host = host});
    EXPECT_TRUE(served.server.loopback()) << host;
    if (std::string(host) == "localhost") continue;  // maybe the IPv6 one
    EXPECT_EQ(served.get("/v1/models", {{"Host", "evil.example"}}).first, 403) << host;
  }
  const Served open({.host = "0.0.0.0"});
  EXPECT_FALSE(open.server.loopback());
  EXPECT_EQ(open.get("/v1/models", {{"Host", "proxy.example"}}).first, 200);
}

TEST(Limits, OfTheBody) {
  const Served served({.max_body = 1000});
  const auto [status, body] = served.post("/v1/completions", completion(std::string(2000, 'a')).dump());
  EXPECT_EQ(status, 413);
  EXPECT_EQ(body["error"]["type"], "invalid_request_error");
  // Without a length that is told beforehand.
  const auto chunked = served.client().Post(
      "/v1/completions",
      [](size_t, httplib::DataSink& sink) {
        const std::string part(100, ' ');
        for (int i = 0; i < 20; ++i) sink.write(part.data(), part.size());
        sink.done();
        return true;
      },
      "application/json");
  if (chunked) {
    EXPECT_EQ(chunked->status, 413);
  }
  EXPECT_EQ(served.post("/v1/completions", completion("a")).first, 200);
}

TEST(Origins, OfPagesAreComparedAsBrowsersDo) {
  const Served served({.cors_origins = {"https://Good.example:443"}});
  const auto answer = served.client().Get("/v1/models", {{"Origin", "https://good.example"}});
  EXPECT_EQ(answer->status, 200);
  EXPECT_EQ(answer->get_header_value("Access-Control-Allow-Origin"), "https://good.example");
}

TEST(Limits, OfTokensAndChoices) {
  const Served served({.limits = {.max_tokens = 10, .default_chat_tokens = 7, .max_choices = 3}});
  Json ask = chat("hi");
  ask["max_tokens"] = 11;
  const auto [status, body] = served.post("/v1/chat/completions", ask);
  EXPECT_EQ(status, 400);
  EXPECT_EQ(body["error"]["param"], "max_tokens");
  ask.erase("max_tokens");
  EXPECT_EQ(served.post("/v1/chat/completions", ask).second["usage"]["completion_tokens"], 7);
  EXPECT_EQ(served.post("/v1/completions", completion({"a", "b", "c", "d"})).second["error"]["param"], "prompt");
}

TEST(Limits, OfTheQueue) {
  Served served({.max_waiting = 1});  // beside the 2 that run
  served.backend.hold(true);
  Json three = completion("a");
  three["n"] = 3;
  std::thread first([&] { EXPECT_EQ(served.post("/v1/completions", three).first, 200); });
  ASSERT_TRUE(soon([&] { return served.running() == 3; }));
  const auto full = served.client().Post("/v1/completions", completion("a").dump(), "application/json");
  EXPECT_EQ(full->status, 429);
  EXPECT_EQ(full->get_header_value("Retry-After"), "1");
  EXPECT_EQ(Json::parse(full->body)["error"]["type"], "rate_limit_error");
  served.backend.hold(false);
  first.join();
  EXPECT_TRUE(soon([&] { return served.post("/v1/completions", completion("a")).first == 200; })) << "room again";
}

TEST(Limits, OfTime) {
  Served served({.request_timeout = std::chrono::milliseconds(200)});
  served.backend.hold(true);
  const auto [status, body] = served.post("/v1/completions", completion("a"));
  EXPECT_EQ(status, 504);
  EXPECT_EQ(body["error"]["type"], "timeout_error");
  EXPECT_TRUE(soon([&] { return served.running() == 0; }));
  const std::vector<Json> events = served.stream("/v1/completions", completion("a"));
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0]["error"]["code"], "timeout");
  EXPECT_TRUE(soon([&] { return served.running() == 0; }));
}

TEST(Ports, ThatAreTakenAreAnError) {
  const Served served;
  EXPECT_CONTAINS(error_of([&] { serve::Server second({.port = served.server.port()}); }),
                  "cannot listen on 127.0.0.1:");
  EXPECT_CONTAINS(error_of([&] { serve::Server tls({.port = 0, .tls_certificate = "/no", .tls_key = "/no"}); }), "TLS");
}

}  // namespace
}  // namespace incontext::testing

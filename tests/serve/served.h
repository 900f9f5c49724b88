#pragma once

#include <gtest/gtest.h>
#include <httplib.h>

#include <chrono>
#include <thread>

#include "serve/fake_backend.h"
#include "serve/server.h"
#include "support/errors.h"

namespace incontext::testing {

using base::Json;

/// Whether it comes true within the time.
template <class Condition>
bool soon(const Condition& condition, std::chrono::milliseconds within = std::chrono::milliseconds(1000)) {
  const auto end = std::chrono::steady_clock::now() + within;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

/// A server before a FakeBackend, on a free port.
class Served {
 public:
  explicit Served(serve::ServerOptions options = {}, bool ready = true) : server(with_free_port(std::move(options))) {
    if (ready) server.serve(backend);
  }

  httplib::Client client() const {
    httplib::Client client("127.0.0.1", server.port());
    client.set_read_timeout(20);
    return client;
  }

  /// The answer's status and body.
  std::pair<int, Json> post(const std::string& path, const std::string& body,
                            const httplib::Headers& headers = {}) const {
    const auto answer = client().Post(path, headers, body, "application/json");
    if (!answer) return {-1, nullptr};
    return {answer->status, Json::parse(answer->body, nullptr, false)};
  }
  std::pair<int, Json> post(const std::string& path, const Json& body) const { return post(path, body.dump()); }

  std::pair<int, std::string> get(const std::string& path, const httplib::Headers& headers = {}) const {
    const auto answer = client().Get(path, headers);
    if (!answer) return {-1, ""};
    return {answer->status, answer->body};
  }

  /// The objects of a stream of server-sent events, "[DONE]" as a string.
  std::vector<Json> stream(const std::string& path, Json body) const {
    body["stream"] = true;
    const auto answer = client().Post(path, body.dump(), "application/json");
    if (!answer || answer->status != 200) return {};
    EXPECT_EQ(answer->get_header_value("Content-Type"), "text/event-stream");
    std::vector<Json> events;
    size_t at = 0;
    while (at < answer->body.size()) {
      const size_t end = answer->body.find("\n\n", at);
      const std::string event = answer->body.substr(at, end - at);
      at = end == std::string::npos ? answer->body.size() : end + 2;
      if (!event.starts_with("data: ")) continue;
      events.push_back(event == "data: [DONE]" ? Json("[DONE]") : Json::parse(event.substr(6)));
    }
    return events;
  }

  int64_t running() const { return backend.status().running; }

  FakeBackend backend;  // outlives the server
  serve::Server server;

 private:
  static serve::ServerOptions with_free_port(serve::ServerOptions options) {
    options.port = 0;
    return options;
  }
};

inline Json chat(const std::string& text) {
  return {{"model", "fake"}, {"messages", Json::array({{{"role", "user"}, {"content", text}}})}, {"max_tokens", 5}};
}

inline Json completion(const Json& prompt) { return {{"model", "fake"}, {"prompt", prompt}, {"max_tokens", 5}}; }

}  // namespace incontext::testing

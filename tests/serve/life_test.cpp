// Clients that vanish, many at once, and the server's beginning and end.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <future>

#include "serve/served.h"

namespace incontext::testing {
namespace {

Json endless() {
  Json ask = completion("a");
  ask["max_tokens"] = 190;
  return ask;
}

/// A client that sends a request and reads nothing.
class MuteClient {
 public:
  MuteClient(int port, const std::string& body) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    const std::string request =
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + std::to_string(body.size()) +
        "\r\n\r\n" + body;
    EXPECT_EQ(::send(socket_, request.data(), request.size(), MSG_NOSIGNAL), static_cast<ssize_t>(request.size()));
  }
  ~MuteClient() { leave(); }
  void leave() {
    if (socket_ >= 0) ::close(socket_);
    socket_ = -1;
  }

 private:
  int socket_;
};

TEST(Vanished, ClientsFreeWhatTheyHeld) {
  for (const bool stream : {false, true}) {
    Served served;
    served.backend.hold(true);  // nothing is written that could fail
    Json ask = endless();
    ask["n"] = 2;
    ask["stream"] = stream;
    MuteClient client(served.server.port(), ask.dump());
    ASSERT_TRUE(soon([&] { return served.running() == 2; }));
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    ASSERT_EQ(served.running(), 2) << "a client that is silent is still there";
    client.leave();
    EXPECT_TRUE(soon([&] { return served.running() == 0; })) << (stream ? "streaming" : "whole");
    EXPECT_TRUE(soon([&] { return contains(served.get("/metrics").second, "{finish=\"cancelled\"} 2\n"); }));
  }
}

TEST(Vanished, MidStream) {
  Served served;
  served.backend.reply = std::string(10'000, 'x');
  size_t read = 0;
  Json ask = endless();
  ask["stream"] = true;
  served.backend.hold(true);
  std::thread release([&] {
    ASSERT_TRUE(soon([&] { return served.running() == 1; }));
    served.backend.hold(false);
  });
  httplib::Request request;
  request.method = "POST";
  request.path = "/v1/completions";
  request.body = ask.dump();
  request.content_receiver = [&](const char*, size_t size, uint64_t, uint64_t) {
    read += size;
    served.backend.hold(true);
    return false;
  };
  httplib::Client client = served.client();
  httplib::Response response;
  httplib::Error error;
  EXPECT_FALSE(client.send(request, response, error));
  client.stop();
  release.join();
  EXPECT_GT(read, 0u);
  EXPECT_TRUE(soon([&] { return served.running() == 0; }));
}

TEST(Many, ClientsAtOnce) {
  const Served served;
  std::vector<std::future<std::vector<Json>>> answers;
  for (int i = 0; i < 24; ++i) {
    answers.push_back(std::async(std::launch::async, [&] { return served.stream("/v1/completions", endless()); }));
  }
  for (auto& answer : answers) EXPECT_EQ(answer.get().size(), 192u);  // tokens, end, [DONE]
  EXPECT_EQ(served.running(), 0);
}

TEST(Life, LoadingThenReady) {
  Served served({}, /*ready=*/false);
  EXPECT_EQ(served.get("/health"), (std::pair<int, std::string>(503, R"({"status":"loading"})")));
  const auto [status, body] = served.post("/v1/completions", completion("a"));
  EXPECT_EQ(status, 503);
  EXPECT_EQ(body["error"]["code"], "loading");
  EXPECT_EQ(served.get("/v1/models").first, 503);
  EXPECT_EQ(served.get("/metrics").first, 200);
  served.server.serve(served.backend);
  EXPECT_EQ(served.get("/health").first, 200);
  EXPECT_EQ(served.post("/v1/completions", completion("a")).first, 200);
}

TEST(Life, StopFinishesWhatRunsAndRefusesTheRest) {
  Served served;
  served.backend.hold(true);
  auto running = std::async(std::launch::async, [&] { return served.stream("/v1/completions", completion("a")); });
  ASSERT_TRUE(soon([&] { return served.running() == 1; }));
  auto stopped = std::async(std::launch::async, [&] { served.server.stop(); });
  ASSERT_TRUE(soon([&] { return served.get("/health").first == 503; }));
  const auto [status, body] = served.post("/v1/completions", completion("a"));
  EXPECT_EQ(status, 503);
  EXPECT_EQ(body["error"]["code"], "stopping");
  EXPECT_EQ(stopped.wait_for(std::chrono::milliseconds(200)), std::future_status::timeout) << "waits for what runs";
  served.backend.hold(false);
  const std::vector<Json> events = running.get();
  ASSERT_EQ(events.size(), 7u);
  EXPECT_EQ(events.back(), "[DONE]");
  EXPECT_EQ(stopped.wait_for(std::chrono::seconds(10)), std::future_status::ready);
  EXPECT_FALSE(served.client().Get("/health"));
}

}  // namespace
}  // namespace incontext::testing

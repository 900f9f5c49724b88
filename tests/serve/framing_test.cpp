// Requests whose end the server and a proxy before it might see in different places are refused, and their connection
// closed: what follows would be taken for a request.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "serve/served.h"

namespace incontext::testing {
namespace {

/// What comes back for these bytes until the server closes the connection; "" when it does not within two seconds.
std::string answer_until_closed(const Served& served, const std::string& bytes) {
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(served.server.port()));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const timeval patience{.tv_sec = 2, .tv_usec = 0};  // less than an idle connection is kept
  ::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  EXPECT_EQ(::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  std::string answer;
  char part[4096];
  ssize_t size = 0;
  while ((size = ::recv(socket, part, sizeof part, 0)) > 0) answer.append(part, static_cast<size_t>(size));
  const bool open = size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
  ::close(socket);
  return open ? "" : answer;
}

/// The statuses of answers on one connection, each request sent when the answer to the last is there.
std::string answers_in_turn(const Served& served, const std::vector<std::string>& requests) {
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(served.server.port()));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const timeval patience{.tv_sec = 2, .tv_usec = 0};
  ::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  EXPECT_EQ(::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  std::string statuses;
  for (const std::string& bytes : requests) {
    EXPECT_EQ(::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
    std::string answer;
    char part[4096];
    // The answers' JSON ends in two brackets.
    while (!answer.ends_with("}}")) {
      const ssize_t size = ::recv(socket, part, sizeof part, 0);
      if (size <= 0) break;
      answer.append(part, static_cast<size_t>(size));
    }
    statuses += (statuses.empty() ? "" : " ") + answer.substr(0, 12).substr(std::min<size_t>(9, answer.size()));
  }
  ::close(socket);
  return statuses;
}

std::string request(const std::string& line, const std::string& headers, const std::string& body = "") {
  return line + " HTTP/1.1\r\nHost: localhost\r\n" + headers + "\r\n" + body;
}

TEST(Framing, IsRefusedWhereItIsNotPlain) {
  const Served served;
  const std::string post = "POST /v1/completions", hidden = "GET /v1/models HTTP/1.1\r\n\r\n";
  const std::vector<std::pair<std::string, std::string>> all = {
      {"400 Bad Request", request("GET /health", "Content-Length: 27\r\n", hidden)},
      {"400 Bad Request", request("HEAD /health", "Content-Length: 27\r\n", hidden)},
      {"400 Bad Request", request("GET /health", "Transfer-Encoding: chunked\r\n", "0\r\n\r\n")},
      {"400 Bad Request", request(post, "Content-Length: 2\r\nContent-Length: 29\r\n", "{}" + hidden)},
      {"400 Bad Request", request(post, "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")},
      {"400 Bad Request", request(post, "Content-Length: -2\r\n", "{}")},
      {"400 Bad Request", request(post, "Transfer-Encoding: xchunked\r\n", "{}")},
      {"400 Bad Request", request(post, "Transfer-Encoding: chunked\r\n", "zz\r\n{}\r\n0\r\n\r\n")},
      {"400 Bad Request",
       request(post, "Content-Length: 9\r\nContent-Type: multipart/form-data; boundary=b\r\n", "--b--\r\n\r\n")},
      {"400 Bad Request", "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"},
      {"400 Bad Request", "POST /v1/completions HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
      {"400 Bad Request", request(post, "Transfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n" + hidden)},
      {"400 Bad Request", request(post, "Transfer-Encoding: chunked\r\n", "2\n{}\n0\n\n")},
      {"400 Bad Request", request("BREW /health", "Content-Length: 27\r\n", hidden)},
      {"411 Length Required", request(post, "")}};
  for (const auto& [status, bytes] : all) {
    const std::string answer = answer_until_closed(served, bytes);
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 " + status)) << bytes << "\n" << answer;
    EXPECT_EQ(answer.find("HTTP/1.1", 1), std::string::npos) << bytes << "\n" << answer;
    EXPECT_CONTAINS(answer, "{\"error\":{\"message\":");
  }
}

std::string in_chunks(const std::string& body, const std::string& trailers) {
  return fmt::format("{:x};name=value\r\n{}\r\n1\r\n \r\n0\r\n{}\r\n", body.size(), body, trailers);
}

TEST(Framing, TrailersAreReadAndDropped) {
  const Served served;
  for (const std::string trailers : {"", "Expires: never\r\n", "X-One: 1\r\nX-Two: 2\r\n"}) {
    // The connection stays in step: the same request again is answered, too.
    const std::string head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n";
    const std::string chunks = in_chunks(completion("a").dump(), trailers);
    const std::string answer =
        answer_until_closed(served, head + "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + chunks);
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK")) << trailers << answer;
    EXPECT_CONTAINS(answer, "\"text\":\"Hello\"");
    const std::string two = answers_in_turn(served, {head + "Transfer-Encoding: Chunked\r\n\r\n" + chunks,
                                                     head + "Transfer-Encoding: chunked\r\n\r\n" + chunks});
    EXPECT_EQ(two, "200 200") << trailers;
  }
}

TEST(Framing, AStreamToHttp10EndsWithTheConnection) {
  const Served served;
  Json ask = completion("a");
  ask["stream"] = true;
  for (const std::string more : {"", "Connection: keep-alive\r\n", "Connection: Keep-Alive\r\n"}) {
    const std::string answer =
        answer_until_closed(served, fmt::format("POST /v1/completions HTTP/1.0\r\n{}Content-Length: {}\r\n\r\n{}", more,
                                                ask.dump().size(), ask.dump()));
    EXPECT_CONTAINS(answer, " 200 OK\r\n");
    EXPECT_EQ(answer.find("Transfer-Encoding"), std::string::npos) << answer;
    EXPECT_EQ(answer.find("Keep-Alive"), std::string::npos) << answer;
    EXPECT_CONTAINS(answer, "Connection: close\r\n");
    const std::string body = answer.substr(answer.find("\r\n\r\n") + 4);
    EXPECT_TRUE(body.starts_with("data: {")) << body;
    EXPECT_TRUE(body.ends_with("}\n\ndata: [DONE]\n\n")) << body;
  }
  // A newer client still gets chunks.
  const std::string answer = answer_until_closed(
      served, request("POST /v1/completions",
                      fmt::format("Connection: close\r\nContent-Length: {}\r\n", ask.dump().size()), ask.dump()));
  EXPECT_CONTAINS(answer, "Transfer-Encoding: chunked\r\n");
  EXPECT_TRUE(answer.ends_with("0\r\n\r\n")) << answer;
}

// Of which there might be many that overlap, each a copy of the answer.
TEST(Framing, AnswersAreWholeWhateverTheRange) {
  const Served served;
  const auto [status, body] = served.get("/v1/models", {{"Range", "bytes=0-3,0-"}});
  EXPECT_EQ(status, 200);
  EXPECT_EQ(Json::parse(body)["data"][0]["id"], "fake");
}

}  // namespace
}  // namespace incontext::testing

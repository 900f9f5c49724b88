#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "serve/backend.h"
#include "serve/completion_request.h"

namespace incontext::serve {

struct ServerOptions {
  std::string host = "127.0.0.1";
  int port = 8080;  // 0: a free one
  std::vector<std::string> keys = {};
  std::vector<std::string> cors_origins = {};      // pages that browsers may call from; "*": all
  std::string tls_certificate = {}, tls_key = {};  // PEM files
  int64_t max_body = int64_t{16} << 20;            // bytes
  int64_t max_waiting = 256;                       // continuations beyond those that run
  int64_t max_connections = 1024;
  std::chrono::milliseconds request_timeout{600'000};
  RequestLimits limits = {};
};

/// A Backend over HTTP, in the shapes of OpenAI's interface.
///
/// It listens from construction on and answers "loading" (503) until serve() is called. stop() lets what runs finish
/// and answers "stopping" (503) to the rest meanwhile.
class Server {
 public:
  /// A port that is taken, and a certificate that cannot be read, are Errors.
  explicit Server(const ServerOptions& options);
  /// Stops.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// "http://127.0.0.1:8080".
  std::string url() const;
  int port() const;
  /// Whether only this machine can reach the address it listens on, by whatever name that was given.
  bool loopback() const;

  /// `backend` must outlive stop().
  void serve(Backend& backend);
  void stop();

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace incontext::serve

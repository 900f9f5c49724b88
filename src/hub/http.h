#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace incontext::hub {

/// A failure that asking again may mend: a lost connection, a silent server, an overloaded one.
class TransientError : public base::Error {
 public:
  explicit TransientError(const std::string& message, std::optional<std::chrono::seconds> after = {})
      : base::Error(message), after_(after) {}
  /// How long the server asked us to wait.
  std::optional<std::chrono::seconds> after() const { return after_; }

 private:
  std::optional<std::chrono::seconds> after_;
};

struct HttpAnswer {
  long status = 0;
  std::string url = {};                             // that gave the answer, after redirects
  std::map<std::string, std::string> headers = {};  // names in lower case
  std::string body = {};                            // of refusals; at most some kilobytes

  /// The value, or "".
  std::string header(const std::string& name) const;
  /// The header as a number of bytes; nullopt when it is missing or no such number.
  std::optional<uint64_t> number(const std::string& name) const;
};

struct HttpSettings {
  /// The token goes to this address's scheme, host and port and to no other.
  std::string endpoint;
  std::string token = {};
  std::filesystem::path certificates = {};  // empty: the system's
  std::function<bool()> stop_requested = {};
};

/// Asks over HTTP, one request at a time, keeping connections open. Redirects are followed here and not in libcurl,
/// so that it is plain in one place what is sent to whom. Proxies and their exceptions are those of libcurl's
/// variables.
///
/// Answers of every status are returned, except those that ask to come back later (408, 429 and 5xx), which are
/// TransientErrors, as is a lost connection or one silent for longer than `silence`. A stop request and everything
/// else are base::Errors. Messages hold addresses without their queries, which can be secrets.
class HttpClient {
 public:
  explicit HttpClient(HttpSettings settings);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  /// Bytes of a 200 or 206 as they come, with the answer's headers. What it throws ends the request and comes out.
  using Sink = std::function<void(const HttpAnswer& answer, std::string_view bytes)>;

  /// Asks for the headers only. A redirect to another server is the answer if it tells about the file (x-linked-etag
  /// or x-repo-commit); other redirects are followed, and these two headers and x-linked-size are kept from them.
  HttpAnswer head(const std::string& url, std::chrono::milliseconds silence);
  /// Asks for the bytes from `first` on.
  HttpAnswer get(const std::string& url, uint64_t first, std::chrono::milliseconds silence, const Sink& sink);

 private:
  struct Connection;
  HttpAnswer ask_once(const std::string& url, bool only_headers, uint64_t first, std::chrono::milliseconds silence,
                      const Sink& sink);
  std::string next_address(const HttpAnswer& answer) const;

  HttpSettings settings_;
  std::string endpoint_origin_;
  std::unique_ptr<Connection> connection_;
};

}  // namespace incontext::hub

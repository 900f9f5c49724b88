#pragma once

#include <array>
#include <string>
#include <vector>

namespace incontext::serve {

/// Who may ask: bearers of a key, and pages of allowed origins.
class Access {
 public:
  /// `loopback`: the server is reachable from this machine only.
  Access(const std::vector<std::string>& keys, std::vector<std::string> origins, bool loopback);

  /// Takes "Bearer KEY", and "Basic …" with the key as the password, which is how browsers ask for one; the scheme in
  /// any case, any number of spaces after it (RFC 9110, 11.4). Anything else is a RequestError with status 401. The
  /// time it takes tells nothing about the keys.
  void check_key(const std::string& authorization) const;

  /// Refuses (403) what a browser sends for a page that is neither ours nor allowed. Without keys, a server that only
  /// this machine reaches must also be called by a name of this machine: a foreign name that was made to lead here is
  /// how foreign pages pass for ours.
  void check_page(const std::string& origin, const std::string& host) const;

  bool allows_origin(const std::string& origin) const;

 private:
  using Digest = std::array<unsigned char, 32>;
  static Digest digest(const std::string& text);

  std::vector<Digest> keys_;
  std::vector<std::string> origins_;
  bool loopback_;
};

}  // namespace incontext::serve

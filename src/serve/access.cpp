#include "serve/access.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>

#include "serve/request_error.h"

namespace incontext::serve {
namespace {

std::string from_base64(const std::string& text) {
  std::string bytes(text.size() + 3, '\0');
  const int size =
      ::EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                        reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  bytes.resize(size < 0 ? 0 : static_cast<size_t>(size));
  for (size_t i = 0; i < 2 && text.size() > i && text[text.size() - 1 - i] == '=' && !bytes.empty(); ++i)
    bytes.pop_back();
  return bytes;
}

// Without the port: "[::1]:8080" is "::1".
std::string name_of(const std::string& host) {
  if (host.starts_with("[")) return host.substr(1, host.find(']') - 1);
  return host.substr(0, host.find(':'));
}

}  // namespace

bool is_loopback(const std::string& host) { return host == "localhost" || host == "::1" || host.starts_with("127."); }

Access::Access(const std::vector<std::string>& keys, std::vector<std::string> origins, bool loopback)
    : origins_(std::move(origins)), loopback_(loopback) {
  for (const std::string& key : keys) keys_.push_back(digest(key));
}

Access::Digest Access::digest(const std::string& text) {
  Digest result{};
  ::EVP_Digest(text.data(), text.size(), result.data(), nullptr, ::EVP_sha256(), nullptr);
  return result;
}

void Access::check_key(const std::string& authorization) const {
  if (keys_.empty()) return;
  std::string key;
  if (authorization.starts_with("Bearer ")) {
    key = authorization.substr(7);
  } else if (authorization.starts_with("Basic ")) {
    const std::string pair = from_base64(authorization.substr(6));
    if (const size_t colon = pair.find(':'); colon != std::string::npos) key = pair.substr(colon + 1);
  }
  // Digests are of one length, and all are looked at.
  const Digest given = digest(key);
  int equal = 0;
  for (const Digest& known : keys_) equal |= ::CRYPTO_memcmp(known.data(), given.data(), given.size()) == 0 ? 1 : 0;
  if (equal == 1 && !key.empty()) return;
  throw RequestError(401,
                     authorization.empty() ? "this server asks for a key: send the header 'Authorization: Bearer KEY'"
                                           : "the key is not one that this server knows",
                     "", "invalid_api_key");
}

bool Access::allows_origin(const std::string& origin) const {
  return std::any_of(origins_.begin(), origins_.end(),
                     [&](const std::string& each) { return each == "*" || each == origin; });
}

void Access::check_page(const std::string& origin, const std::string& host) const {
  if (loopback_ && keys_.empty() && !host.empty() && !is_loopback(name_of(host))) {
    throw RequestError(403, fmt::format("this server answers to names of its own machine only, got {}",
                                        base::Json(host).dump(-1, ' ', true, base::Json::error_handler_t::replace)));
  }
  if (origin.empty() || allows_origin(origin) || origin == "http://" + host || origin == "https://" + host) return;
  throw RequestError(403, "pages of this origin may not use this server (--cors-origin allows one)");
}

}  // namespace incontext::serve

#include "serve/access.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <strings.h>

#include <algorithm>

#include "base/text.h"
#include "serve/authority.h"
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

bool equal_without_case(std::string_view text, std::string_view word) {
  return text.size() == word.size() && ::strncasecmp(text.data(), word.data(), word.size()) == 0;
}

}  // namespace

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
  const size_t space = std::min(authorization.find(' '), authorization.size());
  const std::string_view scheme = std::string_view(authorization).substr(0, space);
  const std::string credentials(base::trim(std::string_view(authorization).substr(space)));
  std::string key;
  if (equal_without_case(scheme, "Bearer")) {
    key = credentials;
  } else if (equal_without_case(scheme, "Basic")) {
    const std::string pair = from_base64(credentials);
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
  return std::any_of(origins_.begin(), origins_.end(), [&](const std::string& each) {
    return each == "*" || each == origin || same_origin(each, origin);
  });
}

void Access::check_page(const std::string& origin, const std::string& host) const {
  const std::optional<Authority> called = parse_authority(host);
  if (loopback_ && keys_.empty() && !host.empty() && !(called && called->loopback)) {
    throw RequestError(403, fmt::format("this server answers to names of its own machine only, got {}",
                                        base::Json(host).dump(-1, ' ', true, base::Json::error_handler_t::replace)));
  }
  if (origin.empty() || allows_origin(origin) || (called && is_page_of(origin, *called))) return;
  throw RequestError(403, "pages of this origin may not use this server (--cors-origin allows one)");
}

}  // namespace incontext::serve

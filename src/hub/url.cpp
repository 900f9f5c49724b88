#include "hub/url.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <memory>

#include "base/error.h"
#include "base/text.h"

namespace incontext::hub {
namespace {

struct UrlDeleter {
  void operator()(CURLU* url) const { ::curl_url_cleanup(url); }
};
using Url = std::unique_ptr<CURLU, UrlDeleter>;

Url parse(const std::string& text) {
  Url url(::curl_url());
  INCONTEXT_ASSERT(url != nullptr);
  base::check(::curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0) == CURLUE_OK, "'{}': not a web address",
              base::clip(base::printable(text.substr(0, text.find('?'))), 200));
  return url;
}

std::string part(const Url& url, CURLUPart what, unsigned int flags = 0) {
  char* text = nullptr;
  if (::curl_url_get(url.get(), what, &text, flags) != CURLUE_OK) return "";
  std::string copy = text;
  ::curl_free(text);
  return copy;
}

}  // namespace

std::string percent_encode(std::string_view text, bool keep_slashes) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                       c == '.' || c == '_' || c == '~' || (c == '/' && keep_slashes);
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

std::string origin_of(const std::string& text) {
  const Url url = parse(text);
  const std::string scheme = part(url, CURLUPART_SCHEME);
  base::check(scheme == "http" || scheme == "https", "{}: expected an http or https address", shown_url(text));
  std::string origin =
      fmt::format("{}://{}:{}", scheme, part(url, CURLUPART_HOST), part(url, CURLUPART_PORT, CURLU_DEFAULT_PORT));
  std::transform(origin.begin(), origin.end(), origin.begin(),
                 [](char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); });
  return origin;
}

std::string resolve_location(const std::string& from, const std::string& location) {
  const Url url = parse(from);
  base::check(::curl_url_set(url.get(), CURLUPART_URL, location.c_str(), 0) == CURLUE_OK,
              "{}: redirects to '{}', which is no address", shown_url(from),
              base::clip(base::printable(location.substr(0, location.find('?'))), 200));
  return part(url, CURLUPART_URL);
}

std::string shown_url(const std::string& text) {
  const Url url = parse(text);
  for (const CURLUPart secret : {CURLUPART_QUERY, CURLUPART_FRAGMENT, CURLUPART_USER, CURLUPART_PASSWORD}) {
    ::curl_url_set(url.get(), secret, nullptr, 0);
  }
  return base::printable(part(url, CURLUPART_URL));
}

}  // namespace incontext::hub

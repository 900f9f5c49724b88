#include "serve/authority.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>

namespace incontext::serve {
namespace {

bool is_loopback_v4(const in_addr& address) { return ntohl(address.s_addr) >> 24 == 127; }

bool is_loopback_v6(const in6_addr& address) {
  return IN6_IS_ADDR_LOOPBACK(&address) || (IN6_IS_ADDR_V4MAPPED(&address) && address.s6_addr[12] == 127);
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return out;
}

bool read_port(std::string_view text, int& port) {
  if (text.empty()) return true;  // "name:" tells none
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() && port >= 0 && port <= 65535;
}

bool read_v6(std::string_view text, Authority& out) {
  in6_addr address{};
  if (::inet_pton(AF_INET6, std::string(text).c_str(), &address) != 1) return false;
  char written[INET6_ADDRSTRLEN];
  out.name = ::inet_ntop(AF_INET6, &address, written, sizeof written);
  out.loopback = is_loopback_v6(address);
  return true;
}

bool read_name(std::string_view text, Authority& out) {
  out.name = lower(text);
  in_addr address{};
  if (::inet_pton(AF_INET, out.name.c_str(), &address) == 1) {
    out.loopback = is_loopback_v4(address);
    return true;
  }
  if (out.name.ends_with('.')) out.name.pop_back();
  const bool plain = std::all_of(out.name.begin(), out.name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
  });
  if (!plain || out.name.empty() || out.name.starts_with('.') || out.name.ends_with('.') ||
      out.name.find("..") != std::string::npos) {
    return false;
  }
  out.loopback = out.name == "localhost" || out.name.ends_with(".localhost");
  return true;
}

struct Origin {
  std::string scheme;
  Authority at;

  int usual_port() const { return scheme == "https" ? 443 : 80; }
  int port() const { return at.port < 0 ? usual_port() : at.port; }
};

std::optional<Origin> parse_origin(std::string_view text) {
  const size_t end = text.find("://");
  if (end == std::string_view::npos) return std::nullopt;
  const std::optional<Authority> at = parse_authority(text.substr(end + 3));
  Origin origin{.scheme = lower(text.substr(0, end)), .at = at.value_or(Authority())};
  if (!at || (origin.scheme != "http" && origin.scheme != "https")) return std::nullopt;
  return origin;
}

}  // namespace

std::optional<Authority> parse_authority(std::string_view text) {
  Authority out;
  if (text.starts_with('[')) {
    const size_t end = text.find(']');
    if (end == std::string_view::npos || !read_v6(text.substr(1, end - 1), out)) return std::nullopt;
    const std::string_view rest = text.substr(end + 1);
    if (!rest.empty() && (!rest.starts_with(':') || !read_port(rest.substr(1), out.port))) return std::nullopt;
    return out;
  }
  const size_t colon = text.find(':');
  if (colon != std::string_view::npos && !read_port(text.substr(colon + 1), out.port)) return std::nullopt;
  if (!read_name(text.substr(0, colon), out)) return std::nullopt;
  return out;
}

bool is_page_of(std::string_view origin, const Authority& host) {
  const std::optional<Origin> page = parse_origin(origin);
  if (!page || page->at.name != host.name) return false;
  return page->port() == (host.port < 0 ? page->usual_port() : host.port);
}

bool same_origin(std::string_view one, std::string_view other) {
  const std::optional<Origin> first = parse_origin(one), second = parse_origin(other);
  if (!first || !second) return false;
  return first->scheme == second->scheme && first->at.name == second->at.name && first->port() == second->port();
}

bool is_loopback(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) return is_loopback_v4(reinterpret_cast<const sockaddr_in&>(address).sin_addr);
  if (address.ss_family == AF_INET6) return is_loopback_v6(reinterpret_cast<const sockaddr_in6&>(address).sin6_addr);
  return false;
}

}  // namespace incontext::serve

#pragma once

#include <sys/socket.h>

#include <optional>
#include <string>
#include <string_view>

namespace incontext::serve {

/// "name:port", as a Host header and an origin tell it.
struct Authority {
  std::string name;       // in lower case and without a last dot; addresses in their shortest form, without brackets
  int port = -1;          // -1: none is told
  bool loopback = false;  // an address of this machine alone, localhost, or a name below it (RFC 6761)
};

/// Nothing for what a browser would not call a server by: with user-info, a port that is no number, an address without
/// its brackets.
std::optional<Authority> parse_authority(std::string_view text);

/// Whether an origin ("http://name:port") is that of a page that came from the server called by `host`: both http and
/// https count, since the proxy that speaks it may stand before the server.
bool is_page_of(std::string_view origin, const Authority& host);

/// Whether the two are one origin, however they are written. "null" is none.
bool same_origin(std::string_view one, std::string_view other);

/// Whether only this machine can reach a socket with that address.
bool is_loopback(const sockaddr_storage& address);

}  // namespace incontext::serve

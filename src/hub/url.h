#pragma once

#include <string>
#include <string_view>

namespace incontext::hub {

/// Percent-encodes everything but letters, digits and "-._~", and "/" where `keep_slashes` says so.
std::string percent_encode(std::string_view text, bool keep_slashes);

/// "scheme://host:port" in lower case, with the port written out: who a request goes to. Error for what is no http or
/// https address.
std::string origin_of(const std::string& url);

/// The address that a redirect's `location` names, seen from `url`.
std::string resolve_location(const std::string& url, const std::string& location);

/// The address without its query and without user and password, which may be secrets: fit for a message.
std::string shown_url(const std::string& url);

}  // namespace incontext::hub

#pragma once

#include <httplib.h>

#include <optional>

#include "serve/request_error.h"

namespace incontext::serve {

/// What is wrong with the way a request tells its body's length; nothing when it can be read.
///
/// Where the server and a proxy before it disagree about where a request ends, one client's body becomes another's
/// request. The HTTP library takes the first of two lengths, leaves the body of a GET on the connection, and waits for
/// the end of a POST that tells no length.
std::optional<RequestError> framing_error(const httplib::Request& asked);

/// Sends the answer, then closes the connection: what comes after a request that cannot be read is not looked at.
void close_after(const httplib::Request& asked, httplib::Response& answer);

}  // namespace incontext::serve

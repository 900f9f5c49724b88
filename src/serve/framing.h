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

/// Makes the library hand on the chunks of a body as they come, for ChunkedBody to read: its own reader takes a trailer
/// for a fault. Only where a handler reads the body. False for what it must decompress, and for what comes in one
/// piece.
bool take_chunks(const httplib::Request& asked);

/// The answer has no length and ends with the connection: all that a client of HTTP/1.0 understands.
bool ends_with_connection(const httplib::Request& asked);

/// Sends the answer, then closes the connection: what comes after a request that cannot be read is not looked at.
void close_after(const httplib::Request& asked, httplib::Response& answer);

}  // namespace incontext::serve

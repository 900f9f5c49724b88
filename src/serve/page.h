#pragma once

namespace incontext::serve {

/// The page at /: a chat that streams, with what the caches hold and how fast tokens come. One file, nothing from
/// elsewhere.
extern const char* const kPage;

}  // namespace incontext::serve

#include "serve/chunked_body.h"

#include <algorithm>
#include <charconv>

namespace incontext::serve {
namespace {

// Nobody needs longer ones, and whoever sends them could go on for ever.
constexpr size_t kLongestLine = 4096;
constexpr size_t kMostTrailers = 65536;

// Spaces may stand before an extension, and clients have been seen to leave them without one.
bool is_extension(std::string_view rest) {
  const size_t first = rest.find_first_not_of(" \t");
  return first == std::string_view::npos || rest[first] == ';';
}

}  // namespace

// A line is whole, without its end: the size of a chunk, the end of its data, or a trailer.
void ChunkedBody::take_line() {
  std::string line;
  std::swap(line, line_);
  switch (part_) {
    case Part::size: {
      const auto [rest, error] = std::from_chars(line.data(), line.data() + line.size(), left_, 16);
      if (error == std::errc::result_out_of_range) return end(State::too_large);
      if (error != std::errc() || !is_extension({rest, line.data() + line.size()})) return end(State::malformed);
      if (left_ > most_ - size_) return end(State::too_large);
      part_ = left_ == 0 ? Part::trailer : Part::data;
      return;
    }
    case Part::data_end:
      if (!line.empty()) return end(State::malformed);
      part_ = Part::size;
      return;
    case Part::data:
      return;
    case Part::trailer:
      if (line.empty()) return end(State::whole);
      trailers_ += line.size();
      if (trailers_ > kMostTrailers) return end(State::too_large);
      if (line.find(':') == std::string::npos) return end(State::malformed);
      return;
  }
}

ChunkedBody::State ChunkedBody::add(std::string_view bytes) {
  while (!bytes.empty() && state_ == State::going_on) {
    if (part_ == Part::data) {
      const size_t size = std::min(left_, bytes.size());
      if (keep_) body_ += bytes.substr(0, size);
      size_ += size;
      bytes.remove_prefix(size);
      left_ -= size;
      if (left_ == 0) part_ = Part::data_end;
      continue;
    }
    const char c = bytes.front();
    bytes.remove_prefix(1);
    if (c == '\n') {
      // A line that ends otherwise is where a proxy might see another end than we do.
      if (!line_.ends_with('\r')) {
        end(State::malformed);
        break;
      }
      line_.pop_back();
      take_line();
    } else if (line_.ends_with('\r') || line_.size() >= kLongestLine) {
      end(State::malformed);
    } else {
      line_ += c;
    }
  }
  if (state_ == State::whole) excess_ += bytes.size();
  return state_;
}

}  // namespace incontext::serve

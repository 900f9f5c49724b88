#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace incontext::serve {

/// Takes the framing off a body that comes in chunks (RFC 9112, 7.1), however it is cut on its way. Extensions of
/// chunks and trailers are read and dropped.
class ChunkedBody {
 public:
  /// `most`: bytes of the body at most. `keep` false: they are counted alone.
  ChunkedBody(size_t most, bool keep) : most_(most), keep_(keep) {}

  enum class State { going_on, whole, malformed, too_large };
  /// Takes the next bytes. Those behind the end count in excess().
  State add(std::string_view bytes);

  State state() const { return state_; }
  /// Bytes that came behind the end: of a request that was sent before this one was answered.
  size_t excess() const { return excess_; }
  std::string take() { return std::move(body_); }

 private:
  enum class Part { size, data, data_end, trailer };

  void take_line();
  void end(State state) { state_ = state; }

  size_t most_;
  bool keep_;
  State state_ = State::going_on;
  Part part_ = Part::size;
  std::string line_;
  size_t size_ = 0;      // of the body so far
  size_t left_ = 0;      // of the chunk
  size_t trailers_ = 0;  // bytes of them
  size_t excess_ = 0;
  std::string body_;
};

}  // namespace incontext::serve

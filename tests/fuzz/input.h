#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

/// What libFuzzer calls with one input, and replay.cpp with every file of a corpus.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace incontext::testing {

/// Takes an input apart: what stands before the next zero byte, and so on; "" after the last.
class InputParts {
 public:
  InputParts(const uint8_t* data, size_t size) : rest_(reinterpret_cast<const char*>(data), size) {}

  std::string next() {
    const size_t end = rest_.find('\0');
    const std::string part(rest_.substr(0, end));
    rest_.remove_prefix(end == std::string_view::npos ? rest_.size() : end + 1);
    return part;
  }

 private:
  std::string_view rest_;
};

/// Errors are for people: one line without characters that a terminal obeys.
inline void check_message(const base::Error& error) {
  const std::string_view text = error.what();
  INCONTEXT_ASSERT(!text.empty());
  for (const char c : text) INCONTEXT_ASSERT(static_cast<unsigned char>(c) >= 0x20 && c != 0x7F);
}

}  // namespace incontext::testing

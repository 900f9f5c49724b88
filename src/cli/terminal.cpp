#include "cli/terminal.h"

#include <fmt/format.h>

namespace incontext::cli {

std::string for_terminal(const std::string& text) {
  std::string shown;
  for (const char c : text) {
    const bool control = (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') || c == 0x7F;
    shown += control ? fmt::format("\\x{:02x}", static_cast<unsigned char>(c)) : std::string(1, c);
  }
  return shown;
}

}  // namespace incontext::cli

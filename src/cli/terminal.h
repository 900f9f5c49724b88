#pragma once

#include <string>

namespace incontext::cli {

/// The text with what is not UTF-8 or a control character (but line ends and tabs) made visible, fit for a terminal.
std::string for_terminal(const std::string& text);

}  // namespace incontext::cli

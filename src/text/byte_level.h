#pragma once

#include <string>
#include <string_view>

namespace incontext::text {

/// GPT-2's way to write bytes as visible characters: every byte is one code point, those of visible Latin-1 stand for
/// themselves, the others are U+0100 upwards (a space is "Ġ").
std::string bytes_to_characters(std::string_view bytes);

/// The bytes that the characters stand for. A text with any other character in it stands for itself.
std::string characters_to_bytes(std::string_view characters);

}  // namespace incontext::text

#include "text/byte_level.h"

#include <array>

#include "text/utf8.h"

namespace incontext::text {
namespace {

constexpr int kNoByte = -1;
constexpr size_t kCharacters = 0x144;  // all characters in use lie below

struct Tables {
  std::array<std::string, 256> characters;
  std::array<int, kCharacters> bytes;
};

bool stands_for_itself(unsigned byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

Tables make_tables() {
  Tables tables;
  tables.bytes.fill(kNoByte);
  char32_t next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const char32_t character = stands_for_itself(byte) ? byte : next++;
    append_utf8(tables.characters[byte], character);
    tables.bytes[character] = static_cast<int>(byte);
  }
  return tables;
}

const Tables& tables() {
  static const Tables instance = make_tables();
  return instance;
}

}  // namespace

std::string bytes_to_characters(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char byte : bytes) out += tables().characters[static_cast<unsigned char>(byte)];
  return out;
}

std::string characters_to_bytes(std::string_view characters) {
  std::string out;
  out.reserve(characters.size());
  for (size_t i = 0; i < characters.size();) {
    const CodePoint c = code_point_at(characters, i);
    const int byte = c.value < kCharacters ? tables().bytes[c.value] : kNoByte;
    if (byte == kNoByte) return std::string(characters);
    out.push_back(static_cast<char>(byte));
    i += c.size;
  }
  return out;
}

}  // namespace incontext::text

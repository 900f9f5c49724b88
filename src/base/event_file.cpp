#include "base/event_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <chrono>
#include <string>

namespace incontext::base {
namespace {

namespace fs = std::filesystem;

constexpr std::array<uint32_t, 256> crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78U : 0U);
    table[byte] = crc;
  }
  return table;
}

constexpr std::array<uint32_t, 256> kCrcTable = crc_table();

// TFRecords store checksums rotated and shifted, so that a checksum of data that hold checksums stays useful.
uint32_t masked(uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xA282EAD8U; }

double seconds_since_epoch() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "localhost";
}

template <class Unsigned>
void append_little_endian(std::string& out, Unsigned value) {
  for (size_t byte = 0; byte < sizeof value; ++byte) out += static_cast<char>(value >> (8 * byte) & 0xFF);
}

// The three wire types of protobuf that are needed here.
enum class Wire : uint8_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

void append_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

void append_key(std::string& out, uint32_t field, Wire wire) {
  append_varint(out, field << 3 | static_cast<uint8_t>(wire));
}

void append_bytes(std::string& out, uint32_t field, std::string_view bytes) {
  append_key(out, field, Wire::bytes);
  append_varint(out, bytes.size());
  out += bytes;
}

// Field numbers of event.proto.
constexpr uint32_t kWallTime = 1;
constexpr uint32_t kStep = 2;
constexpr uint32_t kFileVersion = 3;
constexpr uint32_t kSummary = 5;

std::string event_start(int64_t step) {
  std::string event;
  append_key(event, kWallTime, Wire::fixed64);
  append_little_endian(event, std::bit_cast<uint64_t>(seconds_since_epoch()));
  append_key(event, kStep, Wire::varint);
  append_varint(event, static_cast<uint64_t>(step));
  return event;
}

fs::path file_path(const fs::path& directory) {
  make_directories(directory);
  return directory / fmt::format("events.out.tfevents.{:.0f}.{}.{}", seconds_since_epoch(), host_name(), ::getpid());
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  uint32_t crc = 0xFFFFFFFFU;
  for (const char c : bytes) crc = (crc >> 8) ^ kCrcTable[(crc ^ static_cast<uint8_t>(c)) & 0xFF];
  return crc ^ 0xFFFFFFFFU;
}

EventFile::EventFile(const fs::path& directory) : path_(file_path(directory)), file_(path_) {
  if (file_.size() > 0) return;  // a second writer within the same second continues the file
  std::string event = event_start(0);
  append_bytes(event, kFileVersion, "brain.Event:2");
  write_event(event);
}

void EventFile::scalar(std::string_view tag, double value, int64_t step) {
  std::string point;  // Summary.Value: 1 tag, 2 simple_value
  append_bytes(point, 1, tag);
  append_key(point, 2, Wire::fixed32);
  append_little_endian(point, std::bit_cast<uint32_t>(static_cast<float>(value)));
  std::string summary;  // Summary: 1 repeated Value
  append_bytes(summary, 1, point);
  std::string event = event_start(step);
  append_bytes(event, kSummary, summary);
  write_event(event);
}

void EventFile::write_event(std::string_view message) {
  std::string record;
  append_little_endian(record, static_cast<uint64_t>(message.size()));
  append_little_endian(record, masked(crc32c(record)));
  record += message;
  append_little_endian(record, masked(crc32c(message)));
  file_.append(record);
}

}  // namespace incontext::base

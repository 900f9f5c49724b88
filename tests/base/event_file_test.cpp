#include "base/event_file.h"

#include <bit>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>

#include "base/error.h"
#include "support/errors.h"
#include "support/temporary_directory.h"

namespace incontext::base {
namespace {

using testing::TemporaryDirectory;

// Bit by bit, unlike the table of the writer.
uint32_t slow_crc32c(const std::string& bytes) {
  uint32_t crc = 0xFFFFFFFF;
  for (const char c : bytes) {
    crc ^= static_cast<uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 1) != 0 ? (crc >> 1) ^ 0x82F63B78 : crc >> 1;
  }
  return ~crc;
}

uint32_t unmasked(uint32_t masked) {
  const uint32_t rotated = masked - 0xA282EAD8;
  return (rotated >> 17) | (rotated << 15);
}

template <class Number>
Number number_at(const std::string& bytes, size_t offset) {
  Number value{};
  EXPECT_LE(offset + sizeof value, bytes.size());
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

// Takes TFRecords apart, checking both checksums of each.
std::vector<std::string> messages_of(const std::string& file) {
  std::vector<std::string> messages;
  for (size_t offset = 0; offset < file.size();) {
    const auto length = number_at<uint64_t>(file, offset);
    EXPECT_EQ(unmasked(number_at<uint32_t>(file, offset + 8)), slow_crc32c(file.substr(offset, 8)));
    messages.push_back(file.substr(offset + 12, length));
    EXPECT_EQ(unmasked(number_at<uint32_t>(file, offset + 12 + length)), slow_crc32c(messages.back()));
    offset += 16 + length;
  }
  return messages;
}

uint64_t take_varint(const std::string& bytes, size_t& offset) {
  uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = static_cast<uint8_t>(bytes.at(offset++));
    value |= static_cast<uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return value;
  }
}

// Field number -> raw bytes (fixed and length-delimited) or the varint's eight bytes.
std::map<uint64_t, std::string> fields_of(const std::string& message) {
  std::map<uint64_t, std::string> fields;
  for (size_t offset = 0; offset < message.size();) {
    const uint64_t key = take_varint(message, offset);
    size_t length = 0;
    if ((key & 7) == 0) {
      const uint64_t value = take_varint(message, offset);
      fields[key >> 3] = std::string(reinterpret_cast<const char*>(&value), sizeof value);
      continue;
    }
    if ((key & 7) == 1) length = 8;
    if ((key & 7) == 2) length = take_varint(message, offset);
    if ((key & 7) == 5) length = 4;
    fields[key >> 3] = message.substr(offset, length);
    offset += length;
  }
  return fields;
}

double now() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

TEST(EventFile, ChecksumMatchesThePublishedValue) {
  EXPECT_EQ(crc32c("123456789"), 0xE3069283U);
  EXPECT_EQ(crc32c(""), 0U);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAU) << "RFC 3720, B.4";
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62A8AB43U) << "RFC 3720, B.4";
}

TEST(EventFile, CanBeTakenApartAgain) {
  const TemporaryDirectory directory;
  const double before = now();
  EventFile file(directory / "logs/deep");
  const std::string long_tag(300, 't');  // needs a two-byte length
  file.scalar("loss", 0.25, 1);
  file.scalar(long_tag, -1e-3, int64_t{1} << 40);
  file.scalar("nan", std::numeric_limits<double>::quiet_NaN(), 3);
  file.sync();
  EXPECT_EQ(file.path().parent_path(), directory / "logs/deep");
  EXPECT_CONTAINS(file.path().filename().string(), "events.out.tfevents.");
  EXPECT_CONTAINS(file.path().filename().string(), "." + std::to_string(::getpid()));

  const std::vector<std::string> messages = messages_of(read_file(file.path()));
  ASSERT_EQ(messages.size(), 4U);
  EXPECT_EQ(fields_of(messages[0])[3], "brain.Event:2");
  const std::vector<std::string> tags = {"loss", long_tag, "nan"};
  const std::vector<float> values = {0.25f, -1e-3f};
  const std::vector<uint64_t> steps = {1, uint64_t{1} << 40, 3};
  for (size_t i = 0; i < 3; ++i) {
    auto event = fields_of(messages[i + 1]);
    const auto wall_time = number_at<double>(event[1], 0);
    EXPECT_GE(wall_time, before);
    EXPECT_LE(wall_time, now());
    EXPECT_EQ(number_at<uint64_t>(event[2], 0), steps[i]);
    auto summary = fields_of(event[5]);
    auto value = fields_of(summary[1]);
    EXPECT_EQ(value[1], tags[i]);
    const auto simple_value = number_at<float>(value[2], 0);
    EXPECT_TRUE(i < 2 ? simple_value == values[i] : std::isnan(simple_value)) << simple_value;
  }
}

}  // namespace
}  // namespace incontext::base

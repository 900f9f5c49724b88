#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "base/file.h"

namespace incontext::base {

/// CRC-32C (Castagnoli polynomial, reflected), as iSCSI defines it: crc32c("123456789") = 0xE3069283.
uint32_t crc32c(std::string_view bytes);

/// Writes curves for TensorBoard. The file events.out.tfevents.<seconds>.<host>.<pid> is a row of TFRecords
///   uint64 length, uint32 masked crc of length, bytes, uint32 masked crc of bytes     (little-endian)
/// whose bytes are an Event message of TensorFlow's event.proto.
class EventFile {
 public:
  /// Makes the directory if need be.
  explicit EventFile(const std::filesystem::path& directory);

  /// One point of the curve `tag`; the time is now.
  void scalar(std::string_view tag, double value, int64_t step);
  void sync() { file_.sync(); }
  const std::filesystem::path& path() const { return path_; }

 private:
  void write_event(std::string_view message);

  std::filesystem::path path_;
  AppendFile file_;
};

}  // namespace incontext::base

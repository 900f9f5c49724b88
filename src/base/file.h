#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace incontext::base {

/// Whole contents of a file.
std::string read_file(const std::filesystem::path& path);

/// Whether the name begins with a dot, as those of hidden files do.
bool is_hidden(const std::filesystem::path& path);

/// Makes the directory and its parents; those that exist are left alone.
void make_directories(const std::filesystem::path& path);

/// A file that appears whole or not at all: bytes go to a temporary file beside it, commit() flushes them to the
/// disk and renames. Without commit() nothing is left behind. Every failure (full disk, read-only directory) is an
/// Error that names the path and the reason.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* bytes, size_t size);
  void write(std::string_view text) { write(text.data(), text.size()); }
  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  int descriptor_ = -1;
};

void write_file_atomic(const std::filesystem::path& path, std::string_view text);

/// Renames a file or folder within one file system and makes the new name last through a power cut.
void rename_into_place(const std::filesystem::path& from, const std::filesystem::path& to);

/// A read-only memory map of a whole file. An empty file gives an empty span.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(data_), size_}; }

 private:
  void* data_ = nullptr;
  size_t size_ = 0;
};

/// A file that is only ever appended to (records, event files). Each append() is one write(2); failures are Errors.
class AppendFile {
 public:
  explicit AppendFile(const std::filesystem::path& path);
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  void append(std::string_view bytes);
  /// Bytes in the file so far, if nobody else appends to it.
  uint64_t size() const { return size_; }
  void sync();

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
};

/// Cuts a file to its first `size` bytes. A file that has fewer is an Error.
void truncate_file(const std::filesystem::path& path, uint64_t size);

}  // namespace incontext::base

#pragma once

#include <filesystem>
#include <functional>

namespace incontext::hub {

/// Holds the lock file of one blob, waiting for whoever has it (a process of ours or of the Hugging Face tools, which
/// lock in the same way). The lock goes with the process, however it ends; the file stays.
class FileLock {
 public:
  /// Makes the file and its folder. `waiting` is called once if somebody else holds it, `keep_waiting` about ten
  /// times a second from then on; it may throw to give up.
  FileLock(const std::filesystem::path& path, const std::function<void()>& waiting,
           const std::function<void()>& keep_waiting);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int descriptor_ = -1;
};

}  // namespace incontext::hub

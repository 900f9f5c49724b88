#pragma once

#include <filesystem>

namespace incontext::base {

/// Holds a directory for this process, so that two runs cannot write into it at once. The lock goes with the process,
/// however it ends. A directory that another process holds is an Error.
class DirectoryLock {
 public:
  explicit DirectoryLock(const std::filesystem::path& directory);
  ~DirectoryLock();
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;

 private:
  int descriptor_ = -1;
};

}  // namespace incontext::base

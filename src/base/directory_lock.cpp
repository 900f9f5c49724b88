#include "base/directory_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace incontext::base {

DirectoryLock::DirectoryLock(const std::filesystem::path& directory) {
  descriptor_ = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor_ < 0) fail("{}: cannot open: {}", directory.string(), std::strerror(errno));
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    const int code = errno;
    ::close(descriptor_);
    check(code != EWOULDBLOCK, "{}: another process is working in this directory", directory.string());
    fail("{}: cannot lock: {}", directory.string(), std::strerror(code));
  }
}

DirectoryLock::~DirectoryLock() { ::close(descriptor_); }

}  // namespace incontext::base

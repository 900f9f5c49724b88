#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace incontext::base {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail_with_errno(const fs::path& path, const char* what) {
  const int code = errno;
  fail("{}: {}: {}", path.string(), what, std::strerror(code));
}

void write_all(int descriptor, const void* bytes, size_t size, const fs::path& path) {
  const char* data = static_cast<const char*>(bytes);
  while (size > 0) {
    const ssize_t written = ::write(descriptor, data, size);
    if (written < 0) {
      if (errno == EINTR) continue;
      fail_with_errno(path, "cannot write");
    }
    data += written;
    size -= static_cast<size_t>(written);
  }
}

void sync_directory(const fs::path& directory) {
  const int descriptor = ::open(directory.empty() ? "." : directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;  // a file system without this is no reason to lose the file
  ::fsync(descriptor);
  ::close(descriptor);
}

}  // namespace

std::string read_file(const fs::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail_with_errno(path, "cannot open");
  std::string contents;
  char buffer[65536];
  while (true) {
    const ssize_t count = ::read(descriptor, buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      const int code = errno;
      ::close(descriptor);
      errno = code;
      fail_with_errno(path, "cannot read");
    }
    if (count == 0) break;
    contents.append(buffer, static_cast<size_t>(count));
  }
  ::close(descriptor);
  return contents;
}

bool is_hidden(const std::filesystem::path& path) { return path.filename().string().starts_with('.'); }

void make_directories(const fs::path& path) {
  if (path.empty()) return;  // the parent of a plain file name
  std::error_code error;
  fs::create_directories(path, error);
  check(!error, "{}: cannot make the directory: {}", path.string(), error.message());
}

AtomicFile::AtomicFile(fs::path path) : path_(std::move(path)) {
  std::string pattern = (path_.parent_path() / ("." + path_.filename().string() + ".XXXXXX")).string();
  descriptor_ = ::mkostemp(pattern.data(), O_CLOEXEC);
  if (descriptor_ < 0) fail_with_errno(path_, "cannot create");
  temporary_ = pattern;
  // mkostemp gives 0600; give what an ordinary open() would have given.
  const mode_t mask = ::umask(0);
  ::umask(mask);
  ::fchmod(descriptor_, 0666 & ~mask);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::write(const void* bytes, size_t size) { write_all(descriptor_, bytes, size, path_); }

void AtomicFile::commit() {
  INCONTEXT_ASSERT(descriptor_ >= 0);
  if (::fsync(descriptor_) != 0) fail_with_errno(path_, "cannot write");
  const int closed = ::close(descriptor_);
  descriptor_ = -1;
  if (closed != 0) fail_with_errno(path_, "cannot write");
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail_with_errno(path_, "cannot rename into place");
  temporary_.clear();
  sync_directory(path_.parent_path());
}

void write_file_atomic(const fs::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

void rename_into_place(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) fail_with_errno(to, "cannot rename into place");
  sync_directory(to.parent_path());
}

MappedFile::MappedFile(const fs::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail_with_errno(path, "cannot open");
  struct stat status {};
  const bool examined = ::fstat(descriptor, &status) == 0;
  if (!examined || !S_ISREG(status.st_mode)) {
    ::close(descriptor);
    fail("{}: expected a regular file", path.string());
  }
  size_ = static_cast<size_t>(status.st_size);
  if (size_ > 0) {
    data_ = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (data_ == MAP_FAILED) {
      data_ = nullptr;
      const int code = errno;
      ::close(descriptor);
      errno = code;
      fail_with_errno(path, "cannot map");
    }
  }
  ::close(descriptor);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

AppendFile::AppendFile(const fs::path& path) : path_(path) {
  descriptor_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (descriptor_ < 0) fail_with_errno(path, "cannot open for appending");
  const off_t end = ::lseek(descriptor_, 0, SEEK_END);
  if (end < 0) {
    const int code = errno;
    ::close(descriptor_);
    errno = code;
    fail_with_errno(path, "cannot seek");
  }
  size_ = static_cast<uint64_t>(end);
}

AppendFile::~AppendFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void AppendFile::append(std::string_view bytes) {
  write_all(descriptor_, bytes.data(), bytes.size(), path_);
  size_ += bytes.size();
}

void AppendFile::sync() {
  if (::fsync(descriptor_) != 0) fail_with_errno(path_, "cannot write");
}

void truncate_file(const fs::path& path, uint64_t size) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) fail_with_errno(path, "cannot truncate");
  // truncate(2) would fill the gap with zeros.
  check(static_cast<uint64_t>(status.st_size) >= size, "{}: expected at least {} bytes, got {}", path.string(), size,
        status.st_size);
  if (::truncate(path.c_str(), static_cast<off_t>(size)) != 0) fail_with_errno(path, "cannot truncate");
}

}  // namespace incontext::base

#include "hub/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/file.h"

namespace incontext::hub {
namespace {

// Closes the descriptor if waiting ends in an exception.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return number_; }
  int release() { return std::exchange(number_, -1); }

 private:
  int number_;
};

}  // namespace

FileLock::FileLock(const std::filesystem::path& path, const std::function<void()>& waiting,
                   const std::function<void()>& keep_waiting) {
  using namespace std::chrono_literals;
  base::make_directories(path.parent_path());
  Descriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  if (file.get() < 0) base::fail("{}: cannot create: {}", path.string(), std::strerror(errno));
  bool told = false;
  while (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    const int code = errno;
    if (code == EINTR) continue;
    base::check(code == EWOULDBLOCK, "{}: cannot lock: {}", path.string(), std::strerror(code));
    if (!told) waiting();
    told = true;
    keep_waiting();
    std::this_thread::sleep_for(100ms);
  }
  descriptor_ = file.release();
}

FileLock::~FileLock() { ::close(descriptor_); }

}  // namespace incontext::hub

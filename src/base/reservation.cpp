#include "base/reservation.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>
#include <string>

#include "base/error.h"
#include "base/text.h"

namespace incontext::base {
namespace {

// A number in a file of the kernel's, or `otherwise` where there is none.
uint64_t number_in(const char* path, uint64_t otherwise) {
  std::ifstream file(path);
  uint64_t value = 0;
  return file >> value ? value : otherwise;
}

uint64_t left_in_control_group() {
  constexpr uint64_t kNone = std::numeric_limits<uint64_t>::max();
  const uint64_t most = number_in("/sys/fs/cgroup/memory.max", kNone);
  if (most == kNone) return kNone;
  const uint64_t used = number_in("/sys/fs/cgroup/memory.current", 0);
  return used < most ? most - used : 0;
}

}  // namespace

Reservation::Reservation(size_t bytes) : size_(round_up_to_pages(bytes)) {
  if (size_ == 0) return;
  void* place = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  check(place != MAP_FAILED, "cannot reserve {} of memory: {}; {} are left", format_bytes(static_cast<double>(size_)),
        std::strerror(errno), format_bytes(static_cast<double>(available_memory())));
  data_ = static_cast<std::byte*>(place);
  // Huge pages would count, and take, two megabytes for the first byte of every region.
  ::madvise(data_, size_, MADV_NOHUGEPAGE);
}

Reservation::~Reservation() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

void Reservation::release(size_t first, size_t bytes) {
  const size_t begin = round_up_to_pages(first);
  const size_t end = (first + bytes) / page_size() * page_size();
  if (begin < end) ::madvise(data_ + begin, end - begin, MADV_DONTNEED);
}

size_t Reservation::page_size() {
  static const auto size = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

uint64_t available_memory() {
  std::ifstream file("/proc/meminfo");
  std::string key, unit;
  uint64_t kilobytes = 0;
  while (file >> key >> kilobytes && std::getline(file, unit)) {
    if (key == "MemAvailable:") return std::min(kilobytes * 1024, left_in_control_group());
  }
  return std::numeric_limits<uint64_t>::max();
}

}  // namespace incontext::base

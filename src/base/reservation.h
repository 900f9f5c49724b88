#pragma once

#include <cstddef>
#include <cstdint>

namespace incontext::base {

/// Address space that takes memory only where it is written, a page at a time. New pages hold zeros.
class Reservation {
 public:
  /// An Error when the system refuses the address space.
  explicit Reservation(size_t bytes);
  ~Reservation();
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;

  std::byte* data() const { return data_; }
  size_t size() const { return size_; }

  /// Gives the whole pages within [first, first + bytes) back to the system; they read as zeros again.
  void release(size_t first, size_t bytes);

  static size_t page_size();
  static size_t round_up_to_pages(size_t bytes) { return (bytes + page_size() - 1) / page_size() * page_size(); }

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

/// Memory that this process could still take, in bytes: what the machine has left, or less where a control group says
/// so.
uint64_t available_memory();

}  // namespace incontext::base

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace incontext::kernels {

/// Lines of memory that will be wanted soon. Whoever computes meanwhile fetches a few at each step of its work: asked
/// for all at once they would fill the processor's list of misses, and hold it up.
class Fetches {
 public:
  /// `bytes` of each of `rows` rows that lie row_bytes apart.
  void add(const void* first, int64_t row_bytes, int64_t bytes, int64_t rows) {
    const int64_t lines = (bytes + kLine - 1) / kLine;
    if (lines <= 0 || rows <= 0 || count_ == areas_.size()) return;
    areas_[count_++] = {static_cast<const char*>(first), row_bytes, lines, rows};
    lines_ += lines * rows;
  }

  /// Lines that no step has fetched yet.
  int64_t lines() const { return lines_; }

  void fetch(int64_t count) {
    for (; count > 0 && lines_ > 0; --count, --lines_) {
      Area& area = areas_[current_];
      __builtin_prefetch(area.row + line_ * kLine, 0, 2);
      if (++line_ < area.lines) continue;
      line_ = 0;
      area.row += area.row_bytes;
      if (--area.rows == 0) ++current_;
    }
  }

 private:
  static constexpr int64_t kLine = 64;
  struct Area {
    const char* row = nullptr;
    int64_t row_bytes = 0, lines = 0, rows = 0;
  };
  std::array<Area, 4> areas_;
  std::size_t count_ = 0, current_ = 0;
  int64_t line_ = 0, lines_ = 0;
};

}  // namespace incontext::kernels

#include "hub/transfer_report.h"

#include <algorithm>
#include <cstdio>

#include "base/progress.h"
#include "base/text.h"

namespace incontext::hub {
namespace {

int64_t mebibytes(uint64_t bytes) {
  constexpr uint64_t kMebibyte = 1 << 20;
  return static_cast<int64_t>((bytes + kMebibyte - 1) / kMebibyte);
}

}  // namespace

TransferReport::TransferReport(bool quiet, bool progress_line) : quiet_(quiet), progress_line_(progress_line) {}

TransferReport::~TransferReport() = default;

void TransferReport::begin(const std::string& label, uint64_t total) {
  if (quiet_ || !progress_line_) return;
  progress_ = std::make_unique<base::Progress>(label, mebibytes(total), "MiB");
}

void TransferReport::file(const std::string& name) {
  file_ = name;
  draw();
}

void TransferReport::came(uint64_t bytes) {
  done_ += bytes;
  draw();
}

void TransferReport::was_there(uint64_t bytes) {
  if (bytes == 0) return;
  done_ += bytes;
  if (progress_ != nullptr) progress_->start_from(mebibytes(done_));
}

void TransferReport::lost(uint64_t bytes) { done_ -= std::min(done_, bytes); }

void TransferReport::draw() {
  if (progress_ != nullptr) progress_->update(mebibytes(done_), file_);
}

void TransferReport::note(const std::string& line) {
  if (quiet_) return;
  if (progress_ != nullptr) {
    progress_->note(line);
  } else {
    std::fputs((base::printable(line) + "\n").c_str(), stderr);
  }
}

}  // namespace incontext::hub

#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace incontext::base {
class Progress;
}

namespace incontext::hub {

/// Tells on stderr how a download goes: a progress line in MiB, and notes about waits and retries. Says nothing when
/// it is quiet.
class TransferReport {
 public:
  TransferReport(bool quiet, bool progress_line);
  ~TransferReport();
  TransferReport(const TransferReport&) = delete;
  TransferReport& operator=(const TransferReport&) = delete;

  /// `total` bytes are to come.
  void begin(const std::string& label, uint64_t total);
  /// The file that the line names from here on.
  void file(const std::string& name);
  void came(uint64_t bytes);
  /// Bytes of the total that need not come, and so do not count for the speed.
  void was_there(uint64_t bytes);
  /// Bytes that came() counted and that have to come again.
  void lost(uint64_t bytes);
  void note(const std::string& line);

 private:
  void draw();

  bool quiet_;
  bool progress_line_;
  std::unique_ptr<base::Progress> progress_;
  std::string file_;
  uint64_t done_ = 0;
};

}  // namespace incontext::hub

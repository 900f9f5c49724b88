#pragma once

namespace incontext::base {

/// While one of these lives, SIGINT and SIGTERM ask the work to stop at its next safe point instead of killing the
/// process; a second SIGINT or SIGTERM ends the process at once with status 130 (or 143). Work that sees
/// requested() finishes its step, saves, and returns. At most one lives at a time.
class StopRequest {
 public:
  /// What the first signal and the second one say on stderr; the strings must outlive the process (literals).
  explicit StopRequest(const char* stopping, const char* stopped = "stopped at once");
  ~StopRequest();
  StopRequest(const StopRequest&) = delete;
  StopRequest& operator=(const StopRequest&) = delete;

  bool requested() const;
  /// Exit status by convention: 128 + the signal's number, or 0 when none came.
  int exit_status() const;
};

}  // namespace incontext::base

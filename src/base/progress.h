#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>

namespace incontext::base {

/// Shows how far a long loop has come, how fast it goes and how long it will take, on stderr by default.
/// On a terminal one line is redrawn (a few times a second); in a pipe or with TERM=dumb a plain line is written
/// every 10 seconds and at the end, without control characters. Colour only on a terminal and without NO_COLOR.
class Progress {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  /// `unit` names what is counted: "steps", "prompts"; without one the line tells the part that is done in percent, and
  /// no counts. A `total` of 0 means that the end is unknown. `now` is the
  /// clock.
  Progress(std::string label, int64_t total, std::string unit, std::FILE* stream = stderr,
           std::function<TimePoint()> now = std::chrono::steady_clock::now);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `done` of total; `detail` is shown at the end of the line ("loss 0.031").
  void update(int64_t done, const std::string& detail = "");
  /// Resumed work: the rate counts only what is done from here on.
  void start_from(int64_t done);
  /// Ends the line. Called by the destructor if need be.
  void finish();
  /// Writes a full line above the progress line.
  void note(const std::string& line);

 private:
  std::string line() const;
  void draw();

  std::string label_;
  int64_t total_;
  std::string unit_;
  std::FILE* stream_;
  std::function<TimePoint()> now_;
  bool terminal_;
  bool colour_;
  bool finished_ = false;
  bool updated_ = false;
  bool line_open_ = false;  // the terminal's cursor stands on our line
  int64_t first_ = 0;
  int64_t done_ = 0;
  std::string detail_;
  TimePoint start_;
  TimePoint last_draw_;
};

}  // namespace incontext::base

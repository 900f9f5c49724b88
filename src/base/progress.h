#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>

namespace incontext::base {

/// Shows how far a long loop has come, how fast it goes and how long it will take, on stderr by default.
/// On a terminal one line is redrawn (a few times a second); in a pipe or with TERM=dumb a plain line is written
/// every 10 seconds and at the end, without control characters. Colour only on a terminal and without NO_COLOR.
class Progress {
 public:
  /// `unit` names what is counted: "steps", "prompts".
  Progress(std::string label, int64_t total, std::string unit, std::FILE* stream = stderr);
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
  std::string line(int64_t done, const std::string& detail, double seconds) const;
  void draw(const std::string& text);

  std::string label_;
  int64_t total_;
  std::string unit_;
  std::FILE* stream_;
  bool terminal_;
  bool colour_;
  bool finished_ = false;
  bool line_open_ = false;
  int64_t first_ = 0;
  int64_t done_ = 0;
  std::string detail_;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point last_draw_;
};

}  // namespace incontext::base

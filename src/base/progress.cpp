#include "base/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "base/text.h"

namespace incontext::base {
namespace {

using namespace std::chrono_literals;

constexpr auto kRedraw = 200ms;
constexpr auto kPlainLine = 10s;

std::string_view environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool is_terminal(std::FILE* stream) {
  const std::string_view kind = environment("TERM");
  return ::isatty(::fileno(stream)) == 1 && !kind.empty() && kind != "dumb";
}

// Asked at every redraw, because windows are resized.
size_t terminal_width(std::FILE* stream) {
  struct winsize size {};
  if (::ioctl(::fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

std::string format_rate(double rate) { return rate >= 100 ? fmt::format("{:.0f}", rate) : fmt::format("{:.3g}", rate); }

}  // namespace

Progress::Progress(std::string label, int64_t total, std::string unit, std::FILE* stream,
                   std::function<TimePoint()> now)
    : label_(printable(label)),
      total_(total),
      unit_(printable(unit)),
      stream_(stream),
      now_(std::move(now)),
      terminal_(is_terminal(stream)),
      colour_(terminal_ && environment("NO_COLOR").empty()),
      start_(now_()),
      last_draw_(start_) {}

Progress::~Progress() { finish(); }

void Progress::start_from(int64_t done) {
  first_ = done_ = done;
  start_ = last_draw_ = now_();
}

void Progress::update(int64_t done, const std::string& detail) {
  done_ = done;
  detail_ = printable(detail);
  const auto since = now_() - last_draw_;
  const bool due = terminal_ ? (since >= kRedraw || !line_open_) : since >= kPlainLine;
  updated_ = true;
  if (due) draw();
}

void Progress::note(const std::string& line) {
  if (line_open_) std::fputs("\r\x1b[K", stream_);
  line_open_ = false;
  std::fputs((printable(line) + "\n").c_str(), stream_);
  std::fflush(stream_);
  if (terminal_ && updated_ && !finished_) draw();
}

void Progress::finish() {
  if (finished_) return;
  finished_ = true;
  if (!updated_) return;
  draw();
  if (line_open_) std::fputs("\n", stream_);
  std::fflush(stream_);
  line_open_ = false;
}

std::string Progress::line() const {
  const double seconds = std::chrono::duration<double>(now_() - start_).count();
  std::string text = label_;
  if (total_ > 0) {
    text += fmt::format("  {:3d} %", std::min<int64_t>(100, 100 * done_ / total_));
    if (!unit_.empty()) text += fmt::format("  {}/{} {}", done_, total_, unit_);
  } else {
    text += fmt::format("  {} {}", done_, unit_);
  }
  const double rate = seconds > 0 ? static_cast<double>(done_ - first_) / seconds : 0;
  if (rate > 0 && !unit_.empty()) text += fmt::format("  {} {}/s", format_rate(rate), unit_);
  if (finished_) {
    text += "  in " + format_duration(seconds);
  } else if (rate > 0 && total_ > done_) {
    text += "  " + format_duration(static_cast<double>(total_ - done_) / rate) + " left";
  }
  if (!detail_.empty()) text += "  " + detail_;
  return text;
}

void Progress::draw() {
  last_draw_ = now_();
  if (!terminal_) {
    std::fputs((line() + "\n").c_str(), stream_);
    std::fflush(stream_);
    return;
  }
  // One column stays free: terminals differ in what they do after the last one.
  std::string text = clip(line(), terminal_width(stream_) - 1);
  if (colour_) {
    const size_t label_end = std::min(label_.size(), text.size());
    text = "\x1b[1m" + text.substr(0, label_end) + "\x1b[0m" + text.substr(label_end);
  }
  std::fputs(("\r\x1b[K" + text).c_str(), stream_);
  std::fflush(stream_);
  line_open_ = true;
}

}  // namespace incontext::base

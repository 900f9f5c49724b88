#include "decode/stop_strings.h"

#include <algorithm>

namespace incontext::decode {

StopStrings::StopStrings(std::vector<std::string> strings, bool shown) : strings_(std::move(strings)), shown_(shown) {
  std::erase(strings_, "");
}

std::string StopStrings::add(std::string_view piece) {
  if (stopped_) return "";
  held_ += piece;
  size_t first = std::string::npos;
  for (const std::string& string : strings_) {
    const size_t place = held_.find(string);
    if (place < first) {
      first = place;
      which_ = string;
    }
  }
  if (first != std::string::npos) {
    stopped_ = true;
    std::string shown = held_.substr(0, first + (shown_ ? which_.size() : 0));
    held_.clear();
    return shown;
  }
  // The longest end of the text that begins a stop string stays.
  size_t keep = 0;
  for (const std::string& string : strings_) {
    for (size_t length = std::min(string.size() - 1, held_.size()); length > keep; --length) {
      if (held_.compare(held_.size() - length, length, string, 0, length) == 0) keep = length;
    }
  }
  std::string shown = held_.substr(0, held_.size() - keep);
  held_.erase(0, shown.size());
  return shown;
}

std::string StopStrings::finish() {
  std::string rest;
  std::swap(rest, held_);
  return rest;
}

}  // namespace incontext::decode

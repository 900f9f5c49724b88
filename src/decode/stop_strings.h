#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace incontext::decode {

/// Ends a text at the first stop string, wherever the pieces it comes in are cut. Text that may yet turn out to be the
/// beginning of one is held back.
class StopStrings {
 public:
  /// Empty strings are left out. `shown`: the stop string is part of the text.
  explicit StopStrings(std::vector<std::string> strings, bool shown = false);

  /// Takes the next piece and returns what may be shown now. Once a stop string has come, stopped() is true, the text
  /// before it (with it, if it is shown) has been returned, and nothing more comes.
  std::string add(std::string_view piece);
  /// At the end: what was held back.
  std::string finish();

  bool stopped() const { return stopped_; }
  /// The string that came.
  const std::string& which() const { return which_; }

 private:
  std::vector<std::string> strings_;
  bool shown_;
  std::string held_;
  bool stopped_ = false;
  std::string which_;
};

}  // namespace incontext::decode

#pragma once

#include <map>
#include <string>
#include <vector>

namespace incontext::cache {

/// One kind of cache with its options: "full", "full:bf16", "quantized:bits=4,group=32".
struct CachePolicy {
  std::string kind = "full";
  std::vector<std::string> words = {};             // options without a value
  std::map<std::string, std::string> values = {};  // options with one

  /// The text that parse_policy() reads back.
  std::string text() const;
};

/// Reads a policy from the one form it has everywhere (flag, configuration, HTTP field). A form that is none, and an
/// option that is told twice, are Errors that quote the text.
CachePolicy parse_policy(const std::string& text);

}  // namespace incontext::cache

#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

namespace incontext::base {

/// What JSON from elsewhere may hold before it is parsed: the parser itself takes any depth, and keeps the last of
/// equal keys without a word. (Its own callbacks could tell, but with them it looks at all items of a list again after
/// each.)
struct JsonLimits {
  int deepest = 64;                                         // lists and objects inside each other
  int64_t most_keys = std::numeric_limits<int64_t>::max();  // in all objects together
  bool unique_keys = false;                                 // in every object
};

/// The limit that a text breaks first, if any. What is no JSON breaks none by that.
struct JsonScan {
  enum class Broken { none, depth, keys, repeated_key };
  Broken broken = Broken::none;
  std::string key;   // that an object has twice
  int64_t keys = 0;  // seen so far
};

JsonScan scan_json(std::string_view text, const JsonLimits& limits);

}  // namespace incontext::base

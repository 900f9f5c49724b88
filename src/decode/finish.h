#pragma once

namespace incontext::decode {

/// How a continuation ended.
enum class Finish { stop, length, cancelled, error };

/// As JSON and metrics name it.
constexpr const char* name_of(Finish finish) {
  switch (finish) {
    case Finish::stop:
      return "stop";
    case Finish::length:
      return "length";
    case Finish::cancelled:
      return "cancelled";
    case Finish::error:
      return "error";
  }
  return "";
}

}  // namespace incontext::decode

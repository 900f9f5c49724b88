#pragma once

#include "base/enum_names.h"

namespace incontext::decode {

/// How a continuation ended.
enum class Finish { stop, length, cancelled, error };

/// As JSON and metrics name it.
constexpr auto names_of(Finish) {
  using enum Finish;
  return std::to_array<base::EnumName<Finish>>(
      {{stop, "stop"}, {length, "length"}, {cancelled, "cancelled"}, {error, "error"}});
}

}  // namespace incontext::decode

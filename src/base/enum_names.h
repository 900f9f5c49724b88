#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

// An enumeration whose values have names, for options, files and messages, lists them once beside itself:
//
//   enum class NormPlace { before, after };
//   constexpr auto names_of(NormPlace) {
//     using enum NormPlace;
//     return std::to_array<base::EnumName<NormPlace>>({{before, "before"}, {after, "after"}});
//   }
//
// and from that list come name_of(), value_named(), and fields of option structs (option_values.h).

namespace incontext::base {

template <class Enum>
struct EnumName {
  Enum value;
  const char* name;
};

/// An enumeration that lists the names of its values.
template <class Enum>
concept NamedEnum = std::is_enum_v<Enum> && requires(Enum value) {
  names_of(value).size();
};

template <NamedEnum Enum>
constexpr const char* name_of(Enum value) {
  for (const auto& [each, name] : names_of(value)) {
    if (each == value) return name;
  }
  INCONTEXT_ASSERT(false);  // a value that its list lacks
  return "";
}

/// The value of this name, where there is one.
template <NamedEnum Enum>
constexpr std::optional<Enum> value_named(std::string_view text) {
  for (const auto& [value, name] : names_of(Enum{})) {
    if (text == name) return value;
  }
  return std::nullopt;
}

/// All values, and all names, in the order of the list.
template <NamedEnum Enum>
constexpr auto values_of() {
  std::array<Enum, names_of(Enum{}).size()> values{};
  for (size_t i = 0; i < values.size(); ++i) values[i] = names_of(Enum{})[i].value;
  return values;
}
template <NamedEnum Enum>
std::vector<std::string> all_names() {
  std::vector<std::string> names;
  for (const auto& each : names_of(Enum{})) names.emplace_back(each.name);
  return names;
}

}  // namespace incontext::base

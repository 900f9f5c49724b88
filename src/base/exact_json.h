#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/config_node.h"

namespace incontext::base {

/// As Json::parse(), whose exceptions it throws, but integers that 64 bits cannot hold keep their digits, where the
/// parser itself makes rounded reals of them. Integers of more than kMostDigits digits are Json::out_of_range.
///
/// Such an integer is no number to the library: ask with big_integer_digits() before asking for the type. The library's
/// own dump() does not know it either.
Json parse_exact_json(std::string_view text);

/// For parsers of our own: the library's parser gives up where a number overflows its type of reals, before anyone sees
/// the digits, and this type holds more than kMostDigits of them.
using WideJson =
    nlohmann::basic_json<std::map, std::vector, std::string, bool, std::int64_t, std::uint64_t, long double>;

/// As many as Python reads.
inline constexpr size_t kMostDigits = 4300;

/// An integer beyond 64 bits, from its decimal digits with or without a minus.
Json big_integer(std::string_view digits);

/// The digits of what big_integer() made, with their minus; nothing for every other value, small integers included.
std::optional<std::string> big_integer_digits(const Json& json);

}  // namespace incontext::base

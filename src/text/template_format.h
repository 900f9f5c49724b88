#pragma once

#include <string>
#include <utility>
#include <vector>

#include "text/template_value.h"

namespace incontext::text {

/// Python's `text % values`: a tuple is its items, a dictionary is looked into by %(name)s, all else is one value.
std::string format_percent(const std::string& text, const Value& values, TemplateBudget& budget);

/// Python's text.format(*places, **named), as the sandbox has it.
std::string format_braces(const std::string& text, const std::vector<Value>& places,
                          const std::vector<std::pair<std::string, Value>>& named, TemplateBudget& budget);

/// The text of a given width, in characters: 'alignment' is one of < > ^.
std::string padded(const std::string& text, size_t width, char alignment, const std::string& fill,
                   TemplateBudget& budget);

}  // namespace incontext::text

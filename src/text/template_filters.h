#pragma once

#include <map>
#include <string>

#include "text/template_functions.h"

namespace incontext::text {

using TemplateFilter = Value (*)(const Value&, Arguments&, TemplateBudget&);
using TemplateFilters = std::map<std::string, TemplateFilter, std::less<>>;

/// The filters by what they are for: lists and their like, texts, and all else.
const TemplateFilters& sequence_filters();
const TemplateFilters& text_filters();
const TemplateFilters& value_filters();

/// What {{ value }} writes, charged for.
inline std::string charged_text(const Value& value, TemplateBudget& budget) {
  budget.charge_walk(value);
  return to_text(value);
}

}  // namespace incontext::text

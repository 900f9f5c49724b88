#pragma once

#include <ctime>
#include <map>
#include <string>

#include "text/template_syntax.h"

namespace incontext::text {

using TemplateVariables = std::map<std::string, Value, std::less<>>;

/// Enough for any conversation, and a few seconds at most.
inline constexpr size_t kTemplateSteps = 5'000'000;

/// Runs a parsed template. A fault is an Error: "<name> line <n>: ..."; raise_exception() of the template is a
/// TemplateRefusal. `steps` bound time and memory.
std::string run_template(const Block& block, const std::string& name, TemplateVariables variables, std::time_t now,
                         size_t steps = kTemplateSteps);

}  // namespace incontext::text

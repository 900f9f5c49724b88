#pragma once

#include <ctime>
#include <map>
#include <string>

#include "text/template_syntax.h"

namespace incontext::text {

using TemplateVariables = std::map<std::string, Value, std::less<>>;

/// Runs a parsed template. A fault is an Error: "<name> line <n>: ..."; raise_exception() of the template is a
/// TemplateRefusal. Time and memory are bounded.
std::string run_template(const Block& block, const std::string& name, TemplateVariables variables, std::time_t now);

}  // namespace incontext::text

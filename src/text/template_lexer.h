#pragma once

#include <string>
#include <vector>

#include "text/template_value.h"

namespace incontext::text {

struct TemplateToken {
  enum class Kind { text, block_begin, block_end, output_begin, output_end, name, string, integer, real, symbol, end };
  Kind kind = Kind::end;
  int line = 1;
  std::string text;  // of a string its value
};

/// Cuts a template into tokens and applies the control of white space. A mistake is an Error: "<name> line <n>: ...".
std::vector<TemplateToken> lex_template(const std::string& source, const std::string& name);

}  // namespace incontext::text

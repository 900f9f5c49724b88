#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/template_value.h"

namespace incontext::text {

struct Expression;
struct Statement;
using ExpressionPointer = std::unique_ptr<Expression>;
using Block = std::vector<std::unique_ptr<Statement>>;

/// One node of an expression. What the fields mean depends on the kind.
struct Expression {
  enum class Kind {
    constant,     // value
    variable,     // name
    list,         // parts; name "tuple" when it is one
    dictionary,   // parts: key, value, key, value, ...
    attribute,    // parts[0].name
    item,         // parts[0][parts[1]]
    slice,        // parts[0][parts[1]:parts[2]:parts[3]], absent ones null
    call,         // parts[0](parts[1...], named, *spread, **spread_named)
    filter,       // parts[0] | name(as a call); parts[0] null in a filter block
    test,         // parts[0] is name(as a call); negated
    unary,        // name parts[0]
    binary,       // parts[0] name parts[1]
    comparison,   // parts[0] operators[0] parts[1] operators[1] parts[2] ...
    conditional,  // parts[0] if parts[1] else parts[2], the last may be null
  };

  Kind kind = Kind::constant;
  int line = 0;
  std::string name;
  Value value;
  bool negated = false;
  std::vector<ExpressionPointer> parts;
  std::vector<std::string> operators;
  std::vector<std::pair<std::string, ExpressionPointer>> named;
  ExpressionPointer spread;        // or null
  ExpressionPointer spread_named;  // or null
};

/// What a value is assigned to: a name, "space.name", or parts that the value is unpacked to.
struct Target {
  std::string name;
  std::vector<Target> parts;
  bool unpacks = false;
};

/// One node of the template itself.
struct Statement {
  enum class Kind {
    text,        // text
    output,      // {{ expression }}
    condition,   // expression, body, otherwise
    loop,        // for target in expression if filter: body; otherwise; recursive
    assignment,  // target = expression
    captured,    // {% set target %} body {% endset %}; expression: filters, or null
    macro,       // text is its name; parameters with defaults, body
    call,        // {% call(parameters) expression %} body {% endcall %}; the body is a macro, too
    filtered,    // {% filter %} body; expression: filters
    scope,       // {% with target.parts = defaults %} body; without names {% generation %}
    break_loop,
    continue_loop,
  };

  Kind kind = Kind::text;
  int line = 0;
  std::string text;
  Target target;
  std::vector<std::string> parameters;
  std::vector<ExpressionPointer> defaults;
  bool recursive = false;
  // Of a macro whether its body speaks of them: only then it takes such arguments.
  bool uses_varargs = false;
  bool uses_kwargs = false;
  bool uses_caller = false;
  ExpressionPointer expression;
  ExpressionPointer filter;
  Block body;
  Block otherwise;
};

/// Parses a template as transformers sets Jinja up: trim_blocks, lstrip_blocks, loop controls. A mistake, or something
/// that is not supported, is an Error: "<name> line <n>: ...".
Block parse_template(const std::string& source, const std::string& name);

/// The words that begin a tag, among them those that only end or part one ("endif", "else").
const std::vector<std::string>& statement_names();

}  // namespace incontext::text

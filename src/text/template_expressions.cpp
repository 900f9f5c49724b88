#include "text/template_expressions.h"

#include <algorithm>
#include <cstdlib>

#include "text/template_functions.h"

namespace incontext::text {

ExpressionPointer ExpressionParser::make(Kind kind, std::string name) const {
  auto out = std::make_unique<Expression>();
  out->kind = kind;
  out->line = now().line;
  out->name = std::move(name);
  return out;
}

ExpressionPointer ExpressionParser::parse_tuple(bool with_condition) {
  auto first = with_condition ? parse_expression() : parse_or();
  if (!is_symbol(",")) return first;
  auto out = make(Kind::list, "tuple");
  out->parts.push_back(std::move(first));
  while (take_symbol(",")) {
    if (now().kind == TokenKind::block_end || now().kind == TokenKind::output_end || is_symbol(")")) break;
    out->parts.push_back(with_condition ? parse_expression() : parse_or());
  }
  return out;
}

void ExpressionParser::end_of_tag() {
  if (branches_ == 0 && !unknown_.empty()) fail_at(unknown_.front().line, "{}", unknown_.front().what);
  unknown_.clear();
}

ExpressionPointer ExpressionParser::parse_expression() {
  const Nesting nesting(*this);
  const size_t unknown = unknown_.size();
  auto out = parse_or();
  while (is_word("if")) {
    auto condition = make(Kind::conditional);
    next();
    condition->parts.push_back(std::move(out));
    condition->parts.push_back(parse_or());
    condition->parts.push_back(take_word("else") ? parse_expression() : nullptr);
    out = std::move(condition);
    limit_chain();
    unknown_.resize(unknown, {});
  }
  return out;
}

void ExpressionParser::limit_chain() {
  if (++operators_ > kMaxOperators) fail("a tag has more than {} operators", kMaxOperators);
}

ExpressionPointer ExpressionParser::binary(ExpressionPointer left, std::string name, ExpressionPointer right) {
  limit_chain();
  auto out = make(Kind::binary, std::move(name));
  out->line = left->line;
  out->parts.push_back(std::move(left));
  out->parts.push_back(std::move(right));
  return out;
}

ExpressionPointer ExpressionParser::parse_or() {
  auto left = parse_and();
  while (take_word("or")) left = binary(std::move(left), "or", parse_and());
  return left;
}

ExpressionPointer ExpressionParser::parse_and() {
  auto left = parse_not();
  while (take_word("and")) left = binary(std::move(left), "and", parse_not());
  return left;
}

ExpressionPointer ExpressionParser::parse_not() {
  if (!is_word("not")) return parse_comparison();
  const Nesting nesting(*this);
  auto out = make(Kind::unary, "not");
  next();
  out->parts.push_back(parse_not());
  return out;
}

ExpressionPointer ExpressionParser::parse_comparison() {
  auto left = parse_sum();
  auto out = make(Kind::comparison);
  while (true) {
    std::string name;
    for (const char* symbol : {"==", "!=", "<=", ">=", "<", ">"}) {
      if (is_symbol(symbol)) name = symbol;
    }
    if (is_word("in")) name = "in";
    if (is_word("not") && ahead(1).kind == TokenKind::name && ahead(1).text == "in") {
      next();
      name = "not in";
    }
    if (name.empty()) break;
    next();
    if (out->parts.empty()) out->parts.push_back(std::move(left));
    out->operators.push_back(name);
    out->parts.push_back(parse_sum());
  }
  return out->parts.empty() ? std::move(left) : std::move(out);
}

ExpressionPointer ExpressionParser::parse_sum() {
  auto left = parse_joined();
  while (is_symbol("+") || is_symbol("-")) {
    const std::string name = now().text;
    next();
    left = binary(std::move(left), name, parse_joined());
  }
  return left;
}

ExpressionPointer ExpressionParser::parse_joined() {
  auto left = parse_product();
  while (take_symbol("~")) left = binary(std::move(left), "~", parse_product());
  return left;
}

ExpressionPointer ExpressionParser::parse_product() {
  auto left = parse_power();
  while (is_symbol("*") || is_symbol("/") || is_symbol("//") || is_symbol("%")) {
    const std::string name = now().text;
    next();
    left = binary(std::move(left), name, parse_power());
  }
  return left;
}

ExpressionPointer ExpressionParser::parse_power() {
  auto left = parse_unary(true);
  while (take_symbol("**")) left = binary(std::move(left), "**", parse_unary(true));
  return left;
}

ExpressionPointer ExpressionParser::parse_unary(bool with_filters) {
  const Nesting nesting(*this);
  ExpressionPointer out;
  if (is_symbol("-") || is_symbol("+")) {
    out = make(Kind::unary, now().text);
    next();
    out->parts.push_back(parse_unary(false));
  } else {
    out = parse_primary();
  }
  out = parse_postfix(std::move(out));
  return with_filters ? parse_filters(std::move(out)) : std::move(out);
}

ExpressionPointer ExpressionParser::constant(Value value) {
  auto out = make(Kind::constant);
  out->value = std::move(value);
  next();
  return out;
}

ExpressionPointer ExpressionParser::parse_primary() {
  const Token token = now();
  if (token.kind == TokenKind::name) {
    if (token.text == "true" || token.text == "True") return constant(true);
    if (token.text == "false" || token.text == "False") return constant(false);
    if (token.text == "none" || token.text == "None") return constant(None{});
    return parse_name();
  }
  if (token.kind == TokenKind::integer) return constant(integer_constant());
  if (token.kind == TokenKind::real)
    return constant(std::strtod(token.text.c_str(), nullptr));  // 1e999: infinity, as in Python
  if (token.kind == TokenKind::string) {
    std::string text = token.text;
    while (ahead(1).kind == TokenKind::string) {  // texts side by side are one
      next();
      text += now().text;
    }
    return constant(std::move(text));
  }
  if (is_symbol("(")) return parse_brackets();
  if (is_symbol("[")) return parse_list();
  if (is_symbol("{")) return parse_dictionary();
  fail("expected a value, got {}", shown());
}

Value ExpressionParser::integer_constant() const {
  const std::string& text = now().text;
  if (text.size() > kMaxDigits) fail("the number has more than {} digits", kMaxDigits);
  const char kind = text.size() > 1 ? text[1] : '0';
  const int base = kind == 'x' || kind == 'X'   ? 16
                   : kind == 'o' || kind == 'O' ? 8
                   : kind == 'b' || kind == 'B' ? 2
                                                : 10;
  const auto value = BigInteger::parse(std::string_view(text).substr(base == 10 ? 0 : 2), base);
  if (!value) fail("'{}' is no number", text);
  try {
    return Value::integer(*value);
  } catch (const TemplateFault& fault) {
    fail("{}", fault.message);
  }
}

ExpressionPointer ExpressionParser::parse_name() {
  const std::string name = now().text;
  for (Statement* macro : macros_) {
    const auto speaks_of = [&](std::string_view special) {
      return name == special &&
             std::find(macro->parameters.begin(), macro->parameters.end(), name) == macro->parameters.end();
    };
    if (speaks_of("varargs")) macro->uses_varargs = true;
    if (speaks_of("kwargs")) macro->uses_kwargs = true;
    if (speaks_of("caller")) macro->uses_caller = true;
  }
  auto out = make(Kind::variable, name);
  next();
  return out;
}

void ExpressionParser::parse_parameters(Statement& macro) {
  expect_symbol("(");
  while (!is_symbol(")")) {
    if (!macro.parameters.empty()) {
      expect_symbol(",");
      if (is_symbol(")")) break;
    }
    macro.parameters.push_back(take_name());
    macro.defaults.push_back(take_symbol("=") ? parse_expression() : nullptr);
    if (macro.defaults.size() > 1 && !macro.defaults.back() && macro.defaults[macro.defaults.size() - 2]) {
      fail("a parameter without a default follows one with a default");
    }
  }
  next();
}

ExpressionPointer ExpressionParser::parse_brackets() {
  next();
  if (is_symbol(")")) {
    auto out = make(Kind::list, "tuple");
    next();
    return out;
  }
  auto out = parse_tuple();
  expect_symbol(")");
  return out;
}

ExpressionPointer ExpressionParser::parse_list() {
  auto out = make(Kind::list);
  next();
  while (!is_symbol("]")) {
    if (!out->parts.empty()) {
      expect_symbol(",");
      if (is_symbol("]")) break;
    }
    out->parts.push_back(parse_expression());
  }
  next();
  return out;
}

ExpressionPointer ExpressionParser::parse_dictionary() {
  auto out = make(Kind::dictionary);
  next();
  while (!is_symbol("}")) {
    if (!out->parts.empty()) {
      expect_symbol(",");
      if (is_symbol("}")) break;
    }
    out->parts.push_back(parse_expression());
    expect_symbol(":");
    out->parts.push_back(parse_expression());
  }
  next();
  return out;
}

ExpressionPointer ExpressionParser::parse_postfix(ExpressionPointer out) {
  while (true) {
    if (is_symbol(".")) {
      limit_chain();
      next();
      auto made = make(now().kind == TokenKind::integer ? Kind::item : Kind::attribute);
      made->parts.push_back(std::move(out));
      if (made->kind == Kind::item) {
        made->parts.push_back(parse_primary());
      } else {
        made->name = take_name();
      }
      out = std::move(made);
    } else if (is_symbol("[")) {
      limit_chain();
      out = parse_subscript(std::move(out));
    } else if (is_symbol("(")) {
      limit_chain();
      auto made = make(Kind::call);
      made->parts.push_back(std::move(out));
      parse_arguments(*made);
      out = std::move(made);
    } else {
      return out;
    }
  }
}

ExpressionPointer ExpressionParser::parse_subscript(ExpressionPointer object) {
  auto out = make(Kind::item);
  next();
  out->parts.push_back(std::move(object));
  if (!is_symbol(":")) out->parts.push_back(parse_expression());
  if (take_symbol("]")) return out;
  out->kind = Kind::slice;
  if (out->parts.size() == 1) out->parts.push_back(nullptr);
  expect_symbol(":");
  out->parts.push_back(is_symbol("]") || is_symbol(":") ? nullptr : parse_expression());
  ExpressionPointer step;
  if (take_symbol(":") && !is_symbol("]")) step = parse_expression();
  out->parts.push_back(std::move(step));
  expect_symbol("]");
  return out;
}

void ExpressionParser::parse_arguments(Expression& call) {
  expect_symbol("(");
  bool first = true;
  while (!is_symbol(")")) {
    if (!first) {
      expect_symbol(",");
      if (is_symbol(")")) break;
    }
    first = false;
    if (is_symbol("*") || is_symbol("**")) {
      ExpressionPointer& spread = is_symbol("*") ? call.spread : call.spread_named;
      if (spread || call.spread_named) fail("'{}' is not expected here", now().text);
      next();
      spread = parse_expression();
    } else if (now().kind == TokenKind::name && ahead(1).kind == TokenKind::symbol && ahead(1).text == "=") {
      std::string name = take_name();
      next();
      call.named.emplace_back(std::move(name), parse_expression());
    } else {
      if (!call.named.empty() || call.spread || call.spread_named) {
        fail("an argument without a name follows one with a name or a star");
      }
      call.parts.push_back(parse_expression());
    }
  }
  next();
}

ExpressionPointer ExpressionParser::parse_one_filter(ExpressionPointer subject) {
  limit_chain();
  auto out = make(Kind::filter);
  out->name = take_name();
  if (!is_filter(out->name)) unknown_.push_back({out->line, fmt::format(kUnknownFilter, out->name)});
  out->parts.push_back(std::move(subject));
  if (is_symbol("(")) parse_arguments(*out);
  return out;
}

ExpressionPointer ExpressionParser::parse_filters(ExpressionPointer out) {
  while (true) {
    if (take_symbol("|")) {
      out = parse_one_filter(std::move(out));
    } else if (is_word("is")) {
      next();
      out = parse_test(std::move(out));
    } else if (is_symbol("(")) {
      out = parse_postfix(std::move(out));
    } else {
      return out;
    }
  }
}

ExpressionPointer ExpressionParser::parse_test(ExpressionPointer subject) {
  limit_chain();
  auto out = make(Kind::test);
  out->negated = take_word("not");
  out->name = is_word("in") ? "in" : now().text;
  for (const char* symbol : {"==", "!=", "<=", ">=", "<", ">"}) {
    if (is_symbol(symbol)) fail("the test '{}' is written without 'is'", symbol);
  }
  take_name();
  if (!is_test(out->name)) unknown_.push_back({out->line, fmt::format(kUnknownTest, out->name)});
  out->parts.push_back(std::move(subject));
  if (is_symbol("(")) {
    parse_arguments(*out);
  } else if (begins_test_argument()) {
    out->parts.push_back(parse_postfix(parse_primary()));
  }
  return out;
}

bool ExpressionParser::begins_test_argument() const {
  switch (now().kind) {
    case TokenKind::string:
    case TokenKind::integer:
    case TokenKind::real:
      return true;
    case TokenKind::symbol:
      return now().text == "[" || now().text == "{";
    case TokenKind::name: {
      static constexpr std::string_view kWords[] = {"else", "or", "and", "if", "is", "in", "not", "recursive"};
      return std::find(std::begin(kWords), std::end(kWords), now().text) == std::end(kWords);
    }
    default:
      return false;
  }
}

}  // namespace incontext::text

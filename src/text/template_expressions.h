#pragma once

#include <string>

#include "text/template_cursor.h"
#include "text/template_syntax.h"

namespace incontext::text {

/// Reads the expressions of a template: operators by their precedence, filters and tests, calls, subscripts and slices.
class ExpressionParser : protected TemplateCursor {
 protected:
  using TemplateCursor::TemplateCursor;

  /// A tag has operators of its own, which are limited.
  void begin_tag() { operators_ = 0; }

  /// "a" or "a, b", which is a tuple; without `with_condition` an "if" behind it is not a part of it.
  ExpressionPointer parse_tuple(bool with_condition = true);
  ExpressionPointer parse_expression();
  /// The name of a filter and its arguments.
  ExpressionPointer parse_one_filter(ExpressionPointer subject);
  /// What follows a value: "| filter" and "is test", as often as they come.
  ExpressionPointer parse_filters(ExpressionPointer out);

 private:
  using Kind = Expression::Kind;

  ExpressionPointer make(Kind kind, std::string name = "") const;
  // Chains of operators become trees as deep as they are long.
  void limit_chain();
  ExpressionPointer binary(ExpressionPointer left, std::string name, ExpressionPointer right);
  ExpressionPointer parse_or();
  ExpressionPointer parse_and();
  ExpressionPointer parse_not();
  ExpressionPointer parse_comparison();
  ExpressionPointer parse_sum();
  ExpressionPointer parse_joined();
  ExpressionPointer parse_product();
  ExpressionPointer parse_power();
  ExpressionPointer parse_unary(bool with_filters);
  ExpressionPointer constant(Value value);
  ExpressionPointer parse_primary();
  ExpressionPointer parse_brackets();
  ExpressionPointer parse_list();
  ExpressionPointer parse_dictionary();
  ExpressionPointer parse_postfix(ExpressionPointer out);
  ExpressionPointer parse_subscript(ExpressionPointer object);
  void parse_arguments(Expression& call);
  ExpressionPointer parse_test(ExpressionPointer subject);
  bool begins_test_argument() const;

  // An operator of a chain is a level of the tree.
  static constexpr int kMaxOperators = 250;

  int operators_ = 0;
};

}  // namespace incontext::text

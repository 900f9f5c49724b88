#pragma once

#include <string>
#include <vector>

#include "text/template_cursor.h"
#include "text/template_syntax.h"

namespace incontext::text {

/// Reads the expressions of a template: operators by their precedence, filters and tests, calls, subscripts and slices.
class ExpressionParser : protected TemplateCursor {
 protected:
  using TemplateCursor::TemplateCursor;

  /// A tag has operators of its own, which are limited.
  void begin_tag() { operators_ = 0; }
  /// A tag ends here: filters and tests in it that are not known are a mistake, unless it stands in an if block. There,
  /// as in the branches of an inline if, they are one only when they are used.
  void end_of_tag();
  /// As long as it lives, tags stand in an if block.
  struct Branch {
    explicit Branch(ExpressionParser& parser) : branches_(parser.branches_) { ++branches_; }
    ~Branch() { --branches_; }
    Branch(const Branch&) = delete;
    Branch& operator=(const Branch&) = delete;
    int& branches_;
  };

  /// "a" or "a, b", which is a tuple; without `with_condition` an "if" behind it is not a part of it.
  ExpressionPointer parse_tuple(bool with_condition = true);
  ExpressionPointer parse_expression();
  /// The name of a filter and its arguments.
  ExpressionPointer parse_one_filter(ExpressionPointer subject);
  /// "(a, b=1)": the parameters of a macro or a call block.
  void parse_parameters(Statement& macro);
  /// What follows a value: "| filter" and "is test", as often as they come.
  ExpressionPointer parse_filters(ExpressionPointer out);

  /// The macros whose bodies we are in.
  std::vector<Statement*> macros_;

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
  Value integer_constant() const;
  ExpressionPointer parse_name();
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

  struct Unknown {
    int line;
    std::string what;
  };

  int operators_ = 0;
  int branches_ = 0;
  std::vector<Unknown> unknown_;  // filters and tests of the tag
};

}  // namespace incontext::text

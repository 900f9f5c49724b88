#include <algorithm>
#include <cstdlib>

#include "base/error.h"
#include "base/text.h"
#include "text/template_functions.h"
#include "text/template_lexer.h"
#include "text/template_syntax.h"

namespace incontext::text {
namespace {

using Token = TemplateToken;
using TokenKind = TemplateToken::Kind;
using Kind = Expression::Kind;

// Blocks and brackets may nest this deep: more is an attack on the stack.
constexpr int kMaxNesting = 100;

class Parser {
 public:
  Parser(const std::string& source, const std::string& name) : name_(name), tokens_(lex_template(source, name)) {}

  Block run() {
    Block block = parse_block({});
    INCONTEXT_ASSERT(now().kind == TokenKind::end);
    return block;
  }

 private:
  // ---- Tokens ----

  template <class... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    base::fail("{} line {}: {}", name_, now().line, fmt::format(format, std::forward<Args>(args)...));
  }

  const Token& now() const { return tokens_[at_]; }
  const Token& ahead(size_t count) const { return tokens_[std::min(at_ + count, tokens_.size() - 1)]; }
  void next() { at_ = std::min(at_ + 1, tokens_.size() - 1); }

  bool is_symbol(std::string_view text) const { return now().kind == TokenKind::symbol && now().text == text; }
  bool is_word(std::string_view text) const { return now().kind == TokenKind::name && now().text == text; }

  bool take_symbol(std::string_view text) {
    if (!is_symbol(text)) return false;
    next();
    return true;
  }
  bool take_word(std::string_view text) {
    if (!is_word(text)) return false;
    next();
    return true;
  }

  std::string shown() const {
    switch (now().kind) {
      case TokenKind::end:
        return "the end of the template";
      case TokenKind::block_end:
        return "'%}'";
      case TokenKind::output_end:
        return "'}}'";
      case TokenKind::string:
        return "a text";
      default:
        return "'" + base::clip(base::printable(now().text), 40) + "'";
    }
  }

  void expect_symbol(std::string_view text) {
    if (!take_symbol(text)) fail("expected '{}', got {}", text, shown());
  }
  void expect_word(std::string_view text) {
    if (!take_word(text)) fail("expected '{}', got {}", text, shown());
  }
  void expect(TokenKind kind, std::string_view what) {
    if (now().kind != kind) fail("expected {}, got {}", what, shown());
    next();
  }
  std::string take_name() {
    if (now().kind != TokenKind::name) fail("expected a name, got {}", shown());
    std::string text = now().text;
    next();
    return text;
  }

  // Counts nesting as long as it lives.
  struct Nesting {
    explicit Nesting(Parser& parser) : parser_(parser) {
      if (++parser_.nesting_ > kMaxNesting) parser_.fail("blocks or brackets are nested deeper than {}", kMaxNesting);
    }
    ~Nesting() { --parser_.nesting_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;
    Parser& parser_;
  };

  // ---- Statements ----

  // Statements up to a block that begins with one of `ends`; the "{%" is taken, the word is not.
  Block parse_block(const std::vector<std::string>& ends) {
    const Nesting nesting(*this);
    Block block;
    const int opened = now().line;
    while (true) {
      if (now().kind == TokenKind::end) {
        if (!ends.empty()) fail("the block of line {} has no '{}'", opened, ends.back());
        return block;
      }
      operators_ = 0;
      if (now().kind == TokenKind::text) {
        block.push_back(statement(Statement::Kind::text));
        block.back()->text = now().text;
        next();
      } else if (now().kind == TokenKind::output_begin) {
        next();
        block.push_back(statement(Statement::Kind::output));
        block.back()->expression = parse_tuple();
        expect(TokenKind::output_end, "'}}'");
      } else {
        expect(TokenKind::block_begin, "a tag");
        if (now().kind == TokenKind::name && std::find(ends.begin(), ends.end(), now().text) != ends.end())
          return block;
        block.push_back(parse_statement());
      }
    }
  }

  std::unique_ptr<Statement> statement(Statement::Kind kind) const {
    auto out = std::make_unique<Statement>();
    out->kind = kind;
    out->line = now().line;
    return out;
  }

  void end_tag() { expect(TokenKind::block_end, "'%}'"); }

  std::unique_ptr<Statement> parse_statement() {
    if (is_word("if")) return parse_condition();
    if (is_word("for")) return parse_loop();
    if (is_word("set")) return parse_assignment();
    if (is_word("macro")) return parse_macro();
    if (is_word("filter")) return parse_filter_block();
    if (is_word("generation")) {
      auto out = statement(Statement::Kind::body);
      next();
      end_tag();
      out->body = parse_block({"endgeneration"});
      next();
      end_tag();
      return out;
    }
    if (is_word("break") || is_word("continue")) {
      if (loops_ == 0) fail("'{}' stands outside a for block", now().text);
      auto out = statement(is_word("break") ? Statement::Kind::break_loop : Statement::Kind::continue_loop);
      next();
      end_tag();
      return out;
    }
    fail(
        "the tag {} is not supported, expected one of if, for, set, macro, filter, generation, break, continue and raw",
        shown());
  }

  std::unique_ptr<Statement> parse_condition() {
    auto out = statement(Statement::Kind::condition);
    next();
    out->expression = parse_expression();
    end_tag();
    out->body = parse_block({"elif", "else", "endif"});
    // elif: an if alone in the else, without a level of nesting of its own.
    Statement* last = out.get();
    int elifs = 0;
    while (is_word("elif")) {
      auto inner = statement(Statement::Kind::condition);
      next();
      inner->expression = parse_expression();
      end_tag();
      inner->body = parse_block({"elif", "else", "endif"});
      last->otherwise.push_back(std::move(inner));
      last = last->otherwise.back().get();
      if (++elifs > kMaxElifs) fail("more than {} elif", kMaxElifs);
    }
    if (take_word("else")) {
      end_tag();
      last->otherwise = parse_block({"endif"});
    }
    expect_word("endif");
    end_tag();
    return out;
  }

  std::unique_ptr<Statement> parse_loop() {
    auto out = statement(Statement::Kind::loop);
    next();
    out->targets = parse_targets(false);
    expect_word("in");
    out->expression = parse_tuple(false);
    if (take_word("if")) out->filter = parse_expression();
    if (is_word("recursive")) fail("recursive loops are not supported");
    end_tag();
    ++loops_;
    out->body = parse_block({"else", "endfor"});
    --loops_;
    if (take_word("else")) {
      end_tag();
      out->otherwise = parse_block({"endfor"});
    }
    expect_word("endfor");
    end_tag();
    return out;
  }

  // "a", "a, b", "(a, b)" and, in set, "space.name".
  std::vector<std::string> parse_targets(bool with_attributes) {
    std::vector<std::string> out;
    const bool bracket = take_symbol("(");
    do {
      if (!out.empty() && now().kind != TokenKind::name) break;
      out.push_back(take_name());
      if (with_attributes && take_symbol(".")) out.back() += "." + take_name();
      static constexpr std::string_view kReserved[] = {"true", "false", "none", "True", "False", "None", "loop"};
      if (std::find(std::begin(kReserved), std::end(kReserved), out.back()) != std::end(kReserved)) {
        fail("'{}' cannot be assigned to", out.back());
      }
    } while (take_symbol(","));
    if (bracket) expect_symbol(")");
    return out;
  }

  std::unique_ptr<Statement> parse_assignment() {
    auto out = statement(Statement::Kind::assignment);
    next();
    out->targets = parse_targets(true);
    if (take_symbol("=")) {
      out->expression = parse_tuple();
      end_tag();
      return out;
    }
    out->kind = Statement::Kind::captured;
    if (out->targets.size() != 1) fail("a set block takes one name");
    if (is_symbol("|")) out->expression = parse_filters(nullptr);
    end_tag();
    out->body = parse_block({"endset"});
    next();
    end_tag();
    return out;
  }

  std::unique_ptr<Statement> parse_macro() {
    auto out = statement(Statement::Kind::macro);
    next();
    out->text = take_name();
    expect_symbol("(");
    while (!is_symbol(")")) {
      if (!out->targets.empty()) expect_symbol(",");
      out->targets.push_back(take_name());
      out->defaults.push_back(take_symbol("=") ? parse_expression() : nullptr);
    }
    next();
    end_tag();
    const int loops = std::exchange(loops_, 0);
    out->body = parse_block({"endmacro"});
    loops_ = loops;
    next();
    end_tag();
    return out;
  }

  std::unique_ptr<Statement> parse_filter_block() {
    auto out = statement(Statement::Kind::filtered);
    next();
    out->expression = parse_one_filter(nullptr);
    if (is_symbol("|")) out->expression = parse_filters(std::move(out->expression));
    end_tag();
    out->body = parse_block({"endfilter"});
    next();
    end_tag();
    return out;
  }

  // ---- Expressions ----

  ExpressionPointer make(Kind kind, std::string name = "") const {
    auto out = std::make_unique<Expression>();
    out->kind = kind;
    out->line = now().line;
    out->name = std::move(name);
    return out;
  }

  // "a" or "a, b", which is a tuple.
  ExpressionPointer parse_tuple(bool with_condition = true) {
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

  ExpressionPointer parse_expression() {
    const Nesting nesting(*this);
    auto out = parse_or();
    while (is_word("if")) {
      auto condition = make(Kind::conditional);
      next();
      condition->parts.push_back(std::move(out));
      condition->parts.push_back(parse_or());
      condition->parts.push_back(take_word("else") ? parse_expression() : nullptr);
      out = std::move(condition);
      limit_chain();
    }
    return out;
  }

  // Chains of operators become trees as deep as they are long.
  void limit_chain() {
    if (++operators_ > kMaxOperators) fail("a tag has more than {} operators", kMaxOperators);
  }

  ExpressionPointer binary(ExpressionPointer left, std::string name, ExpressionPointer right) {
    limit_chain();
    auto out = make(Kind::binary, std::move(name));
    out->line = left->line;
    out->parts.push_back(std::move(left));
    out->parts.push_back(std::move(right));
    return out;
  }

  ExpressionPointer parse_or() {
    auto left = parse_and();
    while (take_word("or")) left = binary(std::move(left), "or", parse_and());
    return left;
  }

  ExpressionPointer parse_and() {
    auto left = parse_not();
    while (take_word("and")) left = binary(std::move(left), "and", parse_not());
    return left;
  }

  ExpressionPointer parse_not() {
    if (!is_word("not")) return parse_comparison();
    const Nesting nesting(*this);
    auto out = make(Kind::unary, "not");
    next();
    out->parts.push_back(parse_not());
    return out;
  }

  ExpressionPointer parse_comparison() {
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

  ExpressionPointer parse_sum() {
    auto left = parse_joined();
    while (is_symbol("+") || is_symbol("-")) {
      const std::string name = now().text;
      next();
      left = binary(std::move(left), name, parse_joined());
    }
    return left;
  }

  ExpressionPointer parse_joined() {
    auto left = parse_product();
    while (take_symbol("~")) left = binary(std::move(left), "~", parse_product());
    return left;
  }

  ExpressionPointer parse_product() {
    auto left = parse_power();
    while (is_symbol("*") || is_symbol("/") || is_symbol("//") || is_symbol("%")) {
      const std::string name = now().text;
      next();
      left = binary(std::move(left), name, parse_power());
    }
    return left;
  }

  ExpressionPointer parse_power() {
    auto left = parse_unary(true);
    while (take_symbol("**")) left = binary(std::move(left), "**", parse_unary(true));
    return left;
  }

  ExpressionPointer parse_unary(bool with_filters) {
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

  ExpressionPointer constant(Value value) {
    auto out = make(Kind::constant);
    out->value = std::move(value);
    next();
    return out;
  }

  ExpressionPointer parse_primary() {
    const Token token = now();
    if (token.kind == TokenKind::name) {
      if (token.text == "true" || token.text == "True") return constant(true);
      if (token.text == "false" || token.text == "False") return constant(false);
      if (token.text == "none" || token.text == "None") return constant(None{});
      auto out = make(Kind::variable, token.text);
      next();
      return out;
    }
    if (token.kind == TokenKind::integer) return constant(int64_t{std::stoll(token.text)});
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

  ExpressionPointer parse_brackets() {
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

  ExpressionPointer parse_list() {
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

  ExpressionPointer parse_dictionary() {
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

  ExpressionPointer parse_postfix(ExpressionPointer out) {
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

  ExpressionPointer parse_subscript(ExpressionPointer object) {
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

  void parse_arguments(Expression& call) {
    expect_symbol("(");
    bool first = true;
    while (!is_symbol(")")) {
      if (!first) {
        expect_symbol(",");
        if (is_symbol(")")) break;
      }
      first = false;
      if (is_symbol("*") || is_symbol("**")) fail("'{}' before an argument is not supported", now().text);
      if (now().kind == TokenKind::name && ahead(1).kind == TokenKind::symbol && ahead(1).text == "=") {
        std::string name = take_name();
        next();
        call.named.emplace_back(std::move(name), parse_expression());
      } else {
        if (!call.named.empty()) fail("an argument without a name follows one with a name");
        call.parts.push_back(parse_expression());
      }
    }
    next();
  }

  ExpressionPointer parse_one_filter(ExpressionPointer subject) {
    limit_chain();
    auto out = make(Kind::filter);
    out->name = take_name();
    if (!is_filter(out->name)) fail("the filter '{}' is not supported", out->name);
    out->parts.push_back(std::move(subject));
    if (is_symbol("(")) parse_arguments(*out);
    return out;
  }

  ExpressionPointer parse_filters(ExpressionPointer out) {
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

  ExpressionPointer parse_test(ExpressionPointer subject) {
    limit_chain();
    auto out = make(Kind::test);
    out->negated = take_word("not");
    out->name = is_word("in") ? "in" : now().text;
    for (const char* symbol : {"==", "!=", "<=", ">=", "<", ">"}) {
      if (is_symbol(symbol)) fail("the test '{}' is written without 'is'", symbol);
    }
    take_name();
    if (!is_test(out->name)) fail("the test '{}' is not supported", out->name);
    out->parts.push_back(std::move(subject));
    if (is_symbol("(")) {
      parse_arguments(*out);
    } else if (begins_test_argument()) {
      out->parts.push_back(parse_postfix(parse_primary()));
    }
    return out;
  }

  bool begins_test_argument() const {
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

  // An else-if is a level of the tree, and so is an operator of a chain.
  static constexpr int kMaxElifs = 200;
  static constexpr int kMaxOperators = 250;

  const std::string& name_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int nesting_ = 0;
  int loops_ = 0;
  int operators_ = 0;
};

}  // namespace

Block parse_template(const std::string& source, const std::string& name) { return Parser(source, name).run(); }

}  // namespace incontext::text

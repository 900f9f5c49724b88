#include <algorithm>

#include "text/template_expressions.h"
#include "text/template_syntax.h"

namespace incontext::text {
namespace {

/// Reads the statements of a template: texts, outputs and tags with the blocks below them.
class Parser : private ExpressionParser {
 public:
  Parser(const std::string& source, const std::string& name) : ExpressionParser(source, name) {}

  Block run() {
    Block block = parse_block({});
    INCONTEXT_ASSERT(now().kind == TokenKind::end);
    return block;
  }

 private:
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
      begin_tag();
      if (now().kind == TokenKind::text) {
        block.push_back(statement(Statement::Kind::text));
        block.back()->text = now().text;
        next();
      } else if (now().kind == TokenKind::output_begin) {
        next();
        block.push_back(statement(Statement::Kind::output));
        block.back()->expression = parse_tuple();
        end_of_tag();
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

  void end_tag() {
    end_of_tag();
    expect(TokenKind::block_end, "'%}'");
  }

  // The statements of a block that ends with a tag of one word.
  Block parse_body(const std::string& end) {
    Block out = parse_block({end});
    next();
    end_tag();
    return out;
  }

  std::unique_ptr<Statement> parse_statement() {
    if (is_word("if")) return parse_condition();
    if (is_word("for")) return parse_loop();
    if (is_word("set")) return parse_assignment();
    if (is_word("macro")) return parse_macro();
    if (is_word("call")) return parse_call_block();
    if (is_word("filter")) return parse_filter_block();
    if (is_word("with")) return parse_with();
    if (is_word("generation")) {
      auto out = statement(Statement::Kind::scope);
      next();
      end_tag();
      out->body = parse_body("endgeneration");
      return out;
    }
    if (is_word("print")) return parse_print();
    if (is_word("break") || is_word("continue")) {
      if (loops_ == 0) fail("'{}' stands outside a for block", now().text);
      auto out = statement(is_word("break") ? Statement::Kind::break_loop : Statement::Kind::continue_loop);
      next();
      end_tag();
      return out;
    }
    fail(
        "the tag {} is not supported, expected one of if, for, set, macro, call, filter, with, generation, print, "
        "break, "
        "continue and raw",
        shown());
  }

  // Several values are written one after the other: as a scope of outputs.
  std::unique_ptr<Statement> parse_print() {
    auto out = statement(Statement::Kind::scope);
    next();
    while (now().kind != TokenKind::block_end) {
      if (!out->body.empty()) expect_symbol(",");
      out->body.push_back(statement(Statement::Kind::output));
      out->body.back()->expression = parse_expression();
    }
    end_tag();
    return out;
  }

  std::unique_ptr<Statement> parse_condition() {
    const Branch branch(*this);
    auto out = statement(Statement::Kind::condition);
    next();
    out->expression = parse_tuple(false);
    end_tag();
    out->body = parse_block({"elif", "else", "endif"});
    // elif: an if alone in the else, without a level of nesting of its own.
    Statement* last = out.get();
    int elifs = 0;
    while (is_word("elif")) {
      auto inner = statement(Statement::Kind::condition);
      next();
      inner->expression = parse_tuple(false);
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
    out->target = parse_target(false);
    expect_word("in");
    out->expression = parse_tuple(false);
    if (take_word("if")) out->filter = parse_expression();
    out->recursive = take_word("recursive");
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

  // "a", "a, b", "a, (b, c)" and, in set, "space.name".
  Target parse_target(bool with_attributes) {
    Target out = parse_one_target(with_attributes);
    if (!is_symbol(",")) return out;
    Target tuple;
    tuple.unpacks = true;
    tuple.parts.push_back(std::move(out));
    while (take_symbol(",")) {
      if (now().kind != TokenKind::name && !is_symbol("(")) break;
      tuple.parts.push_back(parse_one_target(with_attributes));
    }
    return tuple;
  }

  Target parse_one_target(bool with_attributes) {
    const Nesting nesting(*this);
    if (take_symbol("(")) {
      Target out = parse_target(with_attributes);
      expect_symbol(")");
      return out;
    }
    Target out;
    out.name = take_name();
    if (with_attributes && take_symbol(".")) out.name += "." + take_name();
    static constexpr std::string_view kReserved[] = {"true", "false", "none", "True", "False", "None", "loop"};
    if (std::find(std::begin(kReserved), std::end(kReserved), out.name) != std::end(kReserved)) {
      fail("'{}' cannot be assigned to", out.name);
    }
    return out;
  }

  std::unique_ptr<Statement> parse_assignment() {
    auto out = statement(Statement::Kind::assignment);
    next();
    out->target = parse_target(true);
    if (take_symbol("=")) {
      out->expression = parse_tuple();
      end_tag();
      return out;
    }
    out->kind = Statement::Kind::captured;
    if (out->target.unpacks) fail("a set block takes one name");
    if (is_symbol("|")) out->expression = parse_filters(nullptr);
    end_tag();
    out->body = parse_body("endset");
    return out;
  }

  // The body of a macro or a call block: loops around it are not its own.
  void parse_macro_body(Statement& macro, const std::string& end) {
    const int loops = std::exchange(loops_, 0);
    macros_.push_back(&macro);
    macro.body = parse_body(end);
    macros_.pop_back();
    loops_ = loops;
  }

  std::unique_ptr<Statement> parse_macro() {
    auto out = statement(Statement::Kind::macro);
    next();
    out->text = take_name();
    parse_parameters(*out);
    end_tag();
    parse_macro_body(*out, "endmacro");
    return out;
  }

  std::unique_ptr<Statement> parse_call_block() {
    auto out = statement(Statement::Kind::call);
    next();
    out->text = "caller";
    if (is_symbol("(")) parse_parameters(*out);
    out->expression = parse_expression();
    if (out->expression->kind != Expression::Kind::call) fail("a call block expects a call");
    end_tag();
    parse_macro_body(*out, "endcall");
    return out;
  }

  std::unique_ptr<Statement> parse_with() {
    auto out = statement(Statement::Kind::scope);
    next();
    while (now().kind != TokenKind::block_end) {
      if (!out->defaults.empty()) expect_symbol(",");
      out->target.parts.push_back(parse_target(false));
      expect_symbol("=");
      out->defaults.push_back(parse_expression());
    }
    end_tag();
    out->body = parse_body("endwith");
    return out;
  }

  std::unique_ptr<Statement> parse_filter_block() {
    auto out = statement(Statement::Kind::filtered);
    next();
    out->expression = parse_one_filter(nullptr);
    if (is_symbol("|")) out->expression = parse_filters(std::move(out->expression));
    end_tag();
    out->body = parse_body("endfilter");
    return out;
  }

  // An else-if is a level of the tree.
  static constexpr int kMaxElifs = 200;

  int loops_ = 0;
};

}  // namespace

Block parse_template(const std::string& source, const std::string& name) { return Parser(source, name).run(); }

const std::vector<std::string>& statement_names() {
  static const std::vector<std::string> names = {
      "if",      "elif",       "else",          "endif", "for",     "endfor",   "recursive", "set",
      "endset",  "macro",      "endmacro",      "call",  "endcall", "filter",   "endfilter", "with",
      "endwith", "generation", "endgeneration", "print", "break",   "continue", "raw",       "endraw"};
  return names;
}

}  // namespace incontext::text

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

  // An else-if is a level of the tree.
  static constexpr int kMaxElifs = 200;

  int loops_ = 0;
};

}  // namespace

Block parse_template(const std::string& source, const std::string& name) { return Parser(source, name).run(); }

}  // namespace incontext::text

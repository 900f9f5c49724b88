#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "text/template_lexer.h"

namespace incontext::text {

/// A place in the tokens of a template, and the steps that parsers take from there. What is not as expected is an Error
/// that names the template and the line.
class TemplateCursor {
 protected:
  TemplateCursor(const std::string& source, const std::string& name)
      : name_(name), tokens_(lex_template(source, name)) {}

  template <class... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    fail_at(now().line, format, std::forward<Args>(args)...);
  }

  template <class... Args>
  [[noreturn]] void fail_at(int line, fmt::format_string<Args...> format, Args&&... args) const {
    base::fail("{} line {}: {}", name_, line, fmt::format(format, std::forward<Args>(args)...));
  }

  using Token = TemplateToken;
  using TokenKind = TemplateToken::Kind;

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

  /// The token for an error.
  std::string shown() const;

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

  /// Counts nesting as long as it lives.
  struct Nesting {
    explicit Nesting(TemplateCursor& cursor) : cursor_(cursor) {
      if (++cursor_.nesting_ > kMaxNesting) cursor_.fail("blocks or brackets are nested deeper than {}", kMaxNesting);
    }
    ~Nesting() { --cursor_.nesting_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;
    TemplateCursor& cursor_;
  };

 private:
  // Blocks and brackets may nest this deep: more is an attack on the stack.
  static constexpr int kMaxNesting = 100;

  const std::string& name_;
  std::vector<TemplateToken> tokens_;
  size_t at_ = 0;
  int nesting_ = 0;
};

}  // namespace incontext::text

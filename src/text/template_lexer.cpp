#include "text/template_lexer.h"

#include <algorithm>
#include <cctype>

#include "text/utf8.h"

namespace incontext::text {
namespace {

using TokenKind = TemplateToken::Kind;

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool starts_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}

// Line ends of all systems become \n, and the last one is dropped.
std::string unify_lines(const std::string& source) {
  std::string out;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  Lexer(const std::string& source, const std::string& name) : source_(unify_lines(source)), name_(name) {}

  std::vector<TemplateToken> run() {
    while (at_ < source_.size()) outside();
    add(TokenKind::end, "");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(const std::string& message) const { base::fail("{} line {}: {}", name_, line_, message); }

  void add(TokenKind kind, std::string text) { tokens_.push_back({kind, line_, std::move(text)}); }

  bool looking_at(std::string_view text) const { return source_.compare(at_, text.size(), text) == 0; }

  void advance(size_t count) {
    const auto begin = source_.begin() + static_cast<std::ptrdiff_t>(at_);
    const size_t taken = std::min(count, source_.size() - at_);
    line_ += static_cast<int>(std::count(begin, begin + static_cast<std::ptrdiff_t>(taken), '\n'));
    at_ += taken;
    if (taken > 0) line_starts_ = source_[at_ - 1] == '\n';
  }

  void skip_space() {
    size_t end = at_;
    while (end < source_.size() && is_space(source_[end])) ++end;
    advance(end - at_);
  }

  // Text up to the next tag, then the tag.
  void outside() {
    size_t open = source_.find('{', at_);
    while (open != std::string::npos && (open + 1 >= source_.size() || !is_tag(source_[open + 1]))) {
      open = source_.find('{', open + 1);
    }
    const bool line_started = line_starts_;
    if (open == std::string::npos) {
      add(TokenKind::text, source_.substr(at_));
      advance(source_.size() - at_);
      return;
    }
    std::string text = source_.substr(at_, open - at_);
    const char tag = source_[open + 1];
    const char sign = open + 2 < source_.size() ? source_[open + 2] : '\0';
    if (sign == '-') {
      while (!text.empty() && is_space(text.back())) text.pop_back();
    } else if (sign != '+' && tag != '{') {
      strip_line_start(text, line_started);
    }
    if (!text.empty()) add(TokenKind::text, text);
    advance(open - at_);
    advance(sign == '-' || sign == '+' ? 3 : 2);
    if (tag == '#') {
      comment();
    } else if (tag == '{') {
      inside(TokenKind::output_begin, TokenKind::output_end, "}}");
    } else if (!raw_block()) {
      inside(TokenKind::block_begin, TokenKind::block_end, "%}");
    }
  }

  static bool is_tag(char c) { return c == '{' || c == '%' || c == '#'; }

  static void strip_line_start(std::string& text, bool line_started) {
    const size_t newline = text.rfind('\n');
    if (newline == std::string::npos && !line_started) return;
    const size_t start = newline == std::string::npos ? 0 : newline + 1;
    if (std::all_of(text.begin() + static_cast<std::ptrdiff_t>(start), text.end(), is_space)) text.resize(start);
  }

  void comment() {
    const size_t end = source_.find("#}", at_);
    if (end == std::string::npos) fail("the comment has no end");
    const char sign = end > at_ ? source_[end - 1] : '\0';
    advance(end - at_);
    close_tag(2, sign, true);
  }

  // Takes the tag's last characters and the white space that belongs to it.
  void close_tag(size_t size, char sign, bool trims) {
    advance(size);
    if (sign == '-') {
      skip_space();
    } else if (sign != '+' && trims && at_ < source_.size() && source_[at_] == '\n') {
      advance(1);
    }
  }

  bool raw_block() {
    const size_t before = at_;
    const int line_before = line_;
    skip_space();
    if (looking_at("raw")) {
      advance(3);
      skip_space();
      const bool strips = looking_at("-%}");
      if (strips || looking_at("%}")) {
        advance(strips ? 3 : 2);
        if (strips) skip_space();
        raw_text();
        return true;
      }
    }
    at_ = before;
    line_ = line_before;
    return false;
  }

  void raw_text() {
    for (size_t open = source_.find("{%", at_); open != std::string::npos; open = source_.find("{%", open + 2)) {
      size_t end = open + 2;
      const char sign = end < source_.size() ? source_[end] : '\0';
      if (sign == '-' || sign == '+') ++end;
      while (end < source_.size() && is_space(source_[end])) ++end;
      if (source_.compare(end, 6, "endraw") != 0) continue;
      end += 6;
      while (end < source_.size() && is_space(source_[end])) ++end;
      const char close = end < source_.size() ? source_[end] : '\0';
      if (close == '-' || close == '+') ++end;
      if (source_.compare(end, 2, "%}") != 0) continue;
      std::string text = source_.substr(at_, open - at_);
      if (sign == '-') {
        while (!text.empty() && is_space(text.back())) text.pop_back();
      } else if (sign != '+') {
        strip_line_start(text, line_starts_);
      }
      add(TokenKind::text, text);
      advance(end - at_);
      close_tag(2, close, true);
      return;
    }
    fail("'raw' has no 'endraw'");
  }

  void inside(TokenKind begin, TokenKind end, std::string_view mark) {
    add(begin, "");
    const int opened = line_;
    std::string open_brackets;
    while (true) {
      skip_space();
      if (at_ >= source_.size()) {
        line_ = opened;
        fail(fmt::format("the tag has no '{}'", mark));
      }
      if (open_brackets.empty()) {
        const char sign = source_[at_];
        const bool signed_end =
            (sign == '-' || (sign == '+' && mark == "%}")) && source_.compare(at_ + 1, 2, mark) == 0;
        if (signed_end || looking_at(mark)) {
          add(end, "");
          close_tag(signed_end ? 3 : 2, signed_end ? sign : '\0', mark == "%}");
          return;
        }
      }
      token(open_brackets);
    }
  }

  void token(std::string& open_brackets) {
    const char c = source_[at_];
    if (starts_name(c)) {
      size_t end = at_;
      while (end < source_.size() && (starts_name(source_[end]) || is_digit(source_[end]))) ++end;
      add(TokenKind::name, source_.substr(at_, end - at_));
      advance(end - at_);
    } else if (is_digit(c)) {
      number();
    } else if (c == '\'' || c == '"') {
      string(c);
    } else {
      symbol(open_brackets);
    }
  }

  void number() {
    static constexpr std::string_view kBases = "xXoObB";
    if (source_[at_] == '0' && at_ + 2 < source_.size() && kBases.find(source_[at_ + 1]) != std::string_view::npos) {
      return number_of_base();
    }
    size_t end = at_;
    const auto digits = [&] {
      while (end < source_.size() && (is_digit(source_[end]) || source_[end] == '_')) ++end;
    };
    digits();
    bool real = false;
    if (end + 1 < source_.size() && source_[end] == '.' && is_digit(source_[end + 1])) {
      real = true;
      ++end;
      digits();
    }
    if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
      const size_t sign = end + 1 < source_.size() && (source_[end + 1] == '-' || source_[end + 1] == '+') ? 1 : 0;
      if (end + 1 + sign < source_.size() && is_digit(source_[end + 1 + sign])) {
        real = true;
        end += 1 + sign;
        digits();
      }
    }
    std::string text = source_.substr(at_, end - at_);
    std::erase(text, '_');
    add(real ? TokenKind::real : TokenKind::integer, text);
    advance(end - at_);
  }

  // 0x1F, 0o17, 0b11: what is no digit of the base is left to the parser.
  void number_of_base() {
    size_t end = at_ + 2;
    while (end < source_.size() &&
           (std::isxdigit(static_cast<unsigned char>(source_[end])) != 0 || source_[end] == '_')) {
      ++end;
    }
    std::string text = source_.substr(at_, end - at_);
    std::erase(text, '_');
    add(TokenKind::integer, text);
    advance(end - at_);
  }

  void string(char quote) {
    size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2U : 1U;
    if (end >= source_.size()) fail("the text has no closing quote");
    add(TokenKind::string, unescape(source_.substr(at_ + 1, end - at_ - 1)));
    advance(end + 1 - at_);
  }

  std::string unescape(const std::string& text) const {
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '\\' || i + 1 >= text.size()) {
        out += text[i];
        continue;
      }
      const char c = text[++i];
      static constexpr std::string_view kNames = "nrtabfv\\'\"", kValues = "\n\r\t\a\b\f\v\\'\"";
      const size_t known = kNames.find(c);
      if (known != std::string_view::npos) {
        out += kValues[known];
      } else if (c == 'x' || c == 'u' || c == 'U') {
        const size_t count = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        append_utf8(out, hexadecimal(text, i + 1, count));
        i += count;
      } else if (c >= '0' && c <= '7') {
        unsigned value = 0;
        size_t digits = 0;
        for (; digits < 3 && i + digits < text.size() && text[i + digits] >= '0' && text[i + digits] <= '7'; ++digits) {
          value = value * 8 + static_cast<unsigned>(text[i + digits] - '0');
        }
        append_utf8(out, value);
        i += digits - 1;
      } else if (c != '\n') {
        out += '\\';
        out += c;
      }
    }
    return out;
  }

  char32_t hexadecimal(const std::string& text, size_t begin, size_t count) const {
    const std::string digits = text.substr(begin, count);
    const bool valid =
        digits.size() == count && digits.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos;
    const unsigned long value = valid ? std::stoul(digits, nullptr, 16) : 0;
    if (!valid || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) fail("the text has a wrong escape");
    return static_cast<char32_t>(value);
  }

  void symbol(std::string& open_brackets) {
    for (const std::string_view two : {"**", "//", "==", "!=", "<=", ">="}) {
      if (!looking_at(two)) continue;
      add(TokenKind::symbol, std::string(two));
      advance(2);
      return;
    }
    const char c = source_[at_];
    if (std::string_view("+-*/%~()[]{}<>=.,:|").find(c) == std::string_view::npos) {
      fail(fmt::format("'{}' is not expected here", c));
    }
    if (c == '(' || c == '[' || c == '{') open_brackets += c;
    if (c == ')' || c == ']' || c == '}') {
      const char opener = c == ')' ? '(' : c == ']' ? '[' : '{';
      if (!open_brackets.ends_with(opener)) fail(fmt::format("'{}' closes nothing", c));
      open_brackets.pop_back();
    }
    add(TokenKind::symbol, std::string(1, c));
    advance(1);
  }

  std::string source_;
  const std::string& name_;
  std::vector<TemplateToken> tokens_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starts_ = true;
};

}  // namespace

std::vector<TemplateToken> lex_template(const std::string& source, const std::string& name) {
  return Lexer(source, name).run();
}

}  // namespace incontext::text

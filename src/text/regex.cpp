#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>

#include "base/error.h"
#include "text/utf8.h"

namespace incontext::text {
namespace {

using base::check;
using base::fail;

constexpr size_t kMatchSteps = 500'000;
constexpr const char* kWordClass = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";

// Reads a pattern of Oniguruma and writes the same for PCRE2. They differ in what the classes of characters hold and in
// classes inside classes.
class Translator {
 public:
  Translator(std::string_view pattern, const std::string& where) : pattern_(pattern), where_(where) {}

  std::string run() {
    while (at_ < pattern_.size()) step();
    check(!in_class_, "{}: the regular expression '{}' has an unclosed '['", where_, pattern_);
    return std::move(out_);
  }

 private:
  void step() {
    const char c = pattern_[at_];
    if (c == '\\') {
      escape();
    } else if (in_class_) {
      class_character(c);
    } else if (c == '[') {
      open_class();
    } else if (c == '{') {
      interval();
    } else {
      // (*NO_JIT) and its like: commands to PCRE2, and something else there.
      check(pattern_.substr(at_, 2) != "(*", "{}: '(*' in the regular expression '{}' is not supported", where_,
            pattern_);
      take(1);
    }
  }

  void take(size_t count) {
    out_ += pattern_.substr(at_, count);
    at_ += count;
  }

  void escape() {
    check(at_ + 1 < pattern_.size(), "{}: the regular expression '{}' ends in a backslash", where_, pattern_);
    const char kind = pattern_[at_ + 1];
    std::string replacement;
    if (kind == 's') replacement = R"(\p{White_Space})";
    if (kind == 'S') replacement = R"(\P{White_Space})";
    if (kind == 'd') replacement = R"(\p{Nd})";
    if (kind == 'D') replacement = R"(\P{Nd})";
    if (kind == 'h') replacement = in_class_ ? "0-9A-Fa-f" : "[0-9A-Fa-f]";
    if (kind == 'w') replacement = in_class_ ? kWordClass : std::string("[") + kWordClass + "]";
    if (!in_class_ && (kind == 'b' || kind == 'B')) replacement = word_boundary(kind == 'B');
    if (kind == 'W') {
      check(!in_class_, "{}: \\W inside [...] of the regular expression '{}' is not supported", where_, pattern_);
      replacement = std::string("[^") + kWordClass + "]";
    }
    if (replacement.empty()) {
      take(2 + (kind == 'p' || kind == 'P' ? property_size() : 0));
    } else {
      out_ += replacement;
      at_ += 2;
    }
  }

  // PCRE2's own \b takes marks for no part of a word.
  static std::string word_boundary(bool negated) {
    const std::string word = std::string("[") + kWordClass + "]";
    return fmt::format("(?:(?<={0})(?{1}{0})|(?<!{0})(?{2}{0}))", word, negated ? "=" : "!", negated ? "!" : "=");
  }

  // Bytes of {...} after \p.
  size_t property_size() const {
    if (at_ + 2 >= pattern_.size() || pattern_[at_ + 2] != '{') return 0;
    const size_t end = pattern_.find('}', at_ + 2);
    return end == std::string_view::npos ? 0 : end + 1 - (at_ + 2);
  }

  void open_class() {
    in_class_ = true;
    take(1);
    if (at_ < pattern_.size() && pattern_[at_] == '^') take(1);
    if (at_ < pattern_.size() && pattern_[at_] == ']') {  // a bracket that comes first stands for itself
      out_ += R"(\])";
      ++at_;
    }
  }

  void class_character(char c) {
    if (c == '[') {
      const size_t end = pattern_.find(":]", at_);
      check(pattern_.substr(at_, 2) == "[:" && end != std::string_view::npos,
            "{}: a class inside a class in the regular expression '{}' is not supported", where_, pattern_);
      take(end + 2 - at_);
      return;
    }
    check(pattern_.substr(at_, 2) != "&&", "{}: '&&' in a class of the regular expression '{}' is not supported",
          where_, pattern_);
    if (c == ']') in_class_ = false;
    take(1);
  }

  // {2,3}+ repeats the interval there, and means a possessive interval here.
  void interval() {
    const size_t end = pattern_.find_first_not_of("0123456789,", at_ + 1);
    const bool is_interval = end != std::string_view::npos && end > at_ + 1 && pattern_[end] == '}';
    if (!is_interval) return take(1);
    check(end + 1 == pattern_.size() || pattern_[end + 1] != '+',
          "{}: a repeated interval in the regular expression '{}' is not supported", where_, pattern_);
    // {,3} is {0,3} there, and text here.
    if (pattern_[at_ + 1] == ',') {
      out_ += "{0";
      ++at_;
    }
    take(end + 1 - at_);
  }

  std::string_view pattern_;
  const std::string& where_;
  std::string out_;
  size_t at_ = 0;
  bool in_class_ = false;
};

std::string message_of(int code) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

// Scratch of matching, one set for each thread.
struct Scratch {
  Scratch()
      : matches(pcre2_match_data_create(1, nullptr)),
        context(pcre2_match_context_create(nullptr)),
        stack(pcre2_jit_stack_create(32 << 10, 8 << 20, nullptr)) {
    pcre2_jit_stack_assign(context, nullptr, stack);
    pcre2_set_heap_limit(context, 64 << 10);  // KiB, where a pattern is not compiled for the processor
  }
  ~Scratch() {
    pcre2_match_data_free(matches);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  pcre2_match_data* matches;
  pcre2_match_context* context;
  pcre2_jit_stack* stack;
};

Scratch& scratch() {
  thread_local Scratch instance;
  return instance;
}

}  // namespace

std::string to_pcre(std::string_view pattern, const std::string& where) { return Translator(pattern, where).run(); }

struct Regex::Compiled {
  ~Compiled() { pcre2_code_free(code); }
  pcre2_code* code = nullptr;
  std::string pattern;
};

Regex::Regex(std::string_view pattern, const std::string& where) {
  const std::string translated = to_pcre(pattern, where);
  auto compiled = std::make_unique<Compiled>();
  compiled->pattern = pattern;
  pcre2_compile_context* context = pcre2_compile_context_create(nullptr);
  pcre2_set_newline(context, PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context, 100);
  int code = 0;
  PCRE2_SIZE offset = 0;
  // In Ruby ^ and $ always mean lines.
  compiled->code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &code, &offset, context);
  pcre2_compile_context_free(context);
  check(compiled->code != nullptr, "{}: the regular expression '{}' cannot be used: {}", where, pattern,
        message_of(code));
  pcre2_jit_compile(compiled->code, PCRE2_JIT_COMPLETE);  // without it matching is slower and the same
  compiled_ = std::move(compiled);
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

std::vector<Range> Regex::find_all(std::string_view text) const {
  std::vector<Range> found;
  const Scratch& use = scratch();
  // A match of any tokenizer's pattern takes a few steps for a character. The library's own limit is so high that a
  // hostile pattern takes a second for every match.
  pcre2_set_match_limit(use.context,
                        static_cast<uint32_t>(std::min<size_t>(kMatchSteps + 8 * text.size(), UINT32_MAX)));
  const char* data = text.empty() ? "" : text.data();
  size_t start = 0;
  while (start <= text.size()) {
    const int count = pcre2_match(compiled_->code, reinterpret_cast<PCRE2_SPTR>(data), text.size(), start,
                                  PCRE2_NO_UTF_CHECK, use.matches, use.context);
    if (count == PCRE2_ERROR_NOMATCH) break;
    if (count < 0) fail("the regular expression '{}' gave up on a text: {}", compiled_->pattern, message_of(count));
    const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(use.matches);
    const Range match{bounds[0], bounds[1]};
    check(match.begin >= start && match.begin <= match.end, "the regular expression '{}' ends a match before its start",
          compiled_->pattern);
    if (match.end > match.begin) {
      found.push_back(match);
      start = match.end;
      continue;
    }
    const bool after_a_match = !found.empty() && found.back().end == match.begin && match.begin != 0;
    if (!after_a_match) found.push_back(match);
    if (match.end >= text.size()) break;
    start = match.end + code_point_at(text, match.end).size;
  }
  return found;
}

std::string Regex::escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (std::string_view(R"(\^$.[]|()?*+{}-#&~ )").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

}  // namespace incontext::text

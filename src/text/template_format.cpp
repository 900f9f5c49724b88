#include "text/template_format.h"

#include <algorithm>
#include <cmath>

#include "text/template_functions.h"
#include "text/utf8.h"

namespace incontext::text {
namespace {

// Wider or finer numbers are no part of a prompt.
constexpr int64_t kMaxWidth = 1'000'000;
constexpr int64_t kMaxPrecision = 1000;

// Digits at `at`, which moves behind them; nothing where there are none.
std::optional<int64_t> count_at(const std::string& text, size_t& at, int64_t most, const char* what) {
  const size_t begin = at;
  int64_t out = 0;
  while (at < text.size() && text[at] >= '0' && text[at] <= '9') {
    out = std::min(out * 10 + (text[at++] - '0'), most + 1);
  }
  template_check(out <= most, "format: a {} of more than {} is too large", what, most);
  return at == begin ? std::nullopt : std::optional(out);
}

double real_of(const Value& value, char type) {
  if (const double* real = value.get<double>()) return *real;
  const auto whole = value.whole();
  template_check(whole.has_value(), "format: '{}' expects a number, got {}", type, value.type_name());
  const double out = whole->real();
  template_check(std::isfinite(out), "format: the number is too large for '{}'", type);
  return out;
}

// A number without sign or padding, as C writes it: types e, f and g.
std::string real_digits(double value, char type, int64_t precision, bool keeps_point) {
  const bool upper = type >= 'A' && type <= 'Z';
  if (!std::isfinite(value)) {
    const char* word = std::isnan(value) ? "nan" : "inf";
    return upper ? upper_text(word) : word;
  }
  const char format[] = {'%', '#', '.', '*', type, '\0'};
  const char plain[] = {'%', '.', '*', type, '\0'};
  std::string out(static_cast<size_t>(precision) + 400, '\0');
  const int size =
      std::snprintf(out.data(), out.size(), keeps_point ? format : plain, static_cast<int>(precision), std::abs(value));
  out.resize(static_cast<size_t>(size));
  return out;
}

std::string with_base_prefix(const std::string& digits, char type) {
  if (type == 'x') return "0x" + digits;
  if (type == 'X') return "0X" + digits;
  if (type == 'o') return "0o" + digits;
  return type == 'b' ? "0b" + digits : digits;
}

std::string whole_digits(const BigInteger& value, char type) {
  const std::string digits = (value.negative() ? value.negated() : value)
                                 .text(type == 'x' || type == 'X' ? 16
                                       : type == 'o'              ? 8
                                       : type == 'b'              ? 2
                                                                  : 10);
  return type == 'X' ? upper_text(digits) : digits;
}

std::string sign_of(bool negative, char wanted) {
  if (negative) return "-";
  return wanted == '+' || wanted == ' ' ? std::string(1, wanted) : "";
}

bool is_negative(const Value& value) {
  const double* real = value.get<double>();
  return real != nullptr ? std::signbit(*real) && !std::isnan(*real) : value.whole()->negative();
}

std::string character_of(const Value& value) {
  const auto whole = value.whole();
  const auto code = whole ? whole->small() : std::nullopt;
  template_check(code && *code >= 0 && *code <= 0x10FFFF && (*code < 0xD800 || *code > 0xDFFF),
                 "format: 'c' expects the number of a character");
  std::string out;
  append_utf8(out, static_cast<char32_t>(*code));
  return out;
}

std::string ascii_representation(const Value& value) {
  const std::string shown = representation_of(value);
  std::string out;
  for (size_t i = 0; i < shown.size();) {
    const CodePoint c = code_point_at(shown, i);
    const auto number = static_cast<unsigned>(c.value);
    if (number < 0x80) {
      out += shown[i];
    } else {
      out += number < 0x100     ? fmt::format("\\x{:02x}", number)
             : number < 0x10000 ? fmt::format("\\u{:04x}", number)
                                : fmt::format("\\U{:08x}", number);
    }
    i += c.size;
  }
  return out;
}

std::string converted(const Value& value, char conversion, TemplateBudget& budget) {
  budget.charge_walk(value);
  if (conversion == 'r') return representation_of(value);
  return conversion == 'a' ? ascii_representation(value) : to_text(value);
}

std::string first_characters(const std::string& text, int64_t count) {
  size_t end = 0;
  while (end < text.size() && count-- > 0) end += code_point_at(text, end).size;
  return text.substr(0, end);
}

// ---- text % values ----

class PercentFormat {
 public:
  PercentFormat(const std::string& text, const Value& values, TemplateBudget& budget)
      : text_(text), values_(values), budget_(budget) {}

  std::string run() {
    std::string out;
    while (at_ < text_.size()) {
      const char c = text_[at_++];
      const std::string piece = c == '%' ? directive() : std::string(1, c);
      budget_.charge(piece.size() / 64);
      out += piece;
    }
    const bool may_be_left =
        values_.entries() != nullptr || values_.is_undefined() || (values_.items() != nullptr && !values_.is_tuple());
    const size_t given = values_.is_tuple() ? values_.items()->size() : may_be_left ? 0 : 1;
    template_check(by_name_ || used_ >= given, "format: more values than the text has places for");
    return out;
  }

 private:
  const Value& next_value() {
    template_check(!by_name_, "format: the text has places with and without a name");
    if (!values_.is_tuple()) {
      template_check(used_++ == 0, "format: the text has more places than there are values");
      return values_;
    }
    template_check(used_ < values_.items()->size(), "format: the text has more places than there are values");
    return (*values_.items())[used_++];
  }

  std::optional<int64_t> number_at(int64_t most, const char* what) {
    if (at_ < text_.size() && text_[at_] == '*') {
      ++at_;
      const int64_t out = integer_of(next_value(), "format");
      template_check(out <= most && out >= -most, "format: a {} of more than {} is too large", what, most);
      return out;
    }
    return count_at(text_, at_, most, what);
  }

  Value named_value() {
    size_t end = at_ + 1;
    for (int open = 1; open > 0; ++end) {
      template_check(end < text_.size(), "format: the name of a place has no end");
      open += text_[end] == '(' ? 1 : text_[end] == ')' ? -1 : 0;
    }
    const std::string name = text_.substr(at_ + 1, end - at_ - 2);
    at_ = end;
    const Dictionary* dictionary = values_.entries();
    template_check(dictionary != nullptr, "format: expected a dictionary, got {}", values_.type_name());
    const Value* found = dictionary->find(std::string_view(name));
    template_check(found != nullptr, "format: there is no '{}'", name);
    by_name_ = true;
    return *found;
  }

  std::string directive() {
    template_check(at_ < text_.size(), "format: '%' at the end of the text");
    if (text_[at_] == '%') {
      ++at_;
      return "%";
    }
    std::optional<Value> named;
    if (text_[at_] == '(') named = named_value();
    const size_t flags_begin = at_;
    while (at_ < text_.size() && std::string_view("-+ #0").find(text_[at_]) != std::string_view::npos) ++at_;
    const std::string_view flags = std::string_view(text_).substr(flags_begin, at_ - flags_begin);
    const auto has = [&](char flag) { return flags.find(flag) != std::string_view::npos; };
    int64_t width = number_at(kMaxWidth, "width").value_or(0);
    const bool left = has('-') || width < 0;
    width = std::abs(width);
    std::optional<int64_t> precision;
    if (at_ < text_.size() && text_[at_] == '.') {
      ++at_;
      precision = std::max<int64_t>(number_at(kMaxPrecision, "precision").value_or(0), 0);
    }
    while (at_ < text_.size() && std::string_view("hlL").find(text_[at_]) != std::string_view::npos) ++at_;
    template_check(at_ < text_.size(), "format: a place of the text has no end");
    const char type = text_[at_++];
    const Value value = named ? *named : next_value();
    std::string sign, body;
    const bool is_number = std::string_view("diuoxXeEfFgG").find(type) != std::string_view::npos;
    if (is_number) {
      template_check(value.get<double>() != nullptr || value.whole(), "format: '%{}' expects a number, got {}", type,
                     value.type_name());
      sign = sign_of(is_negative(value), has('+') ? '+' : has(' ') ? ' ' : '-');
      body = number_body(value, type, precision, has('#'));
      if (has('0') && !left) {
        const size_t prefix = body.size() > 1 && body[0] == '0' && body[1] > '9' && type != 'e' ? 2 : 0;
        const size_t missing =
            static_cast<size_t>(width) - std::min(static_cast<size_t>(width), sign.size() + body.size());
        budget_.charge_bytes(missing);
        body.insert(prefix, missing, '0');
      }
    } else if (type == 'c') {
      body = value.is_string() ? *value.string() : character_of(value);
      template_check(count_code_points(body) == 1, "format: '%c' expects one character");
    } else {
      template_check(type == 's' || type == 'r' || type == 'a', "format: '%{}' is not known", type);
      body = converted(value, type, budget_);
      if (precision) body = first_characters(body, *precision);
    }
    return padded(sign + body, static_cast<size_t>(width), left ? '<' : '>', " ", budget_);
  }

  static std::string number_body(const Value& value, char type, std::optional<int64_t> precision, bool alternate) {
    if (std::string_view("eEfFgG").find(type) != std::string_view::npos) {
      return real_digits(real_of(value, type), type, precision.value_or(6), alternate);
    }
    const double* real = value.get<double>();
    template_check(real == nullptr || std::string_view("diu").find(type) != std::string_view::npos,
                   "format: '%{}' expects a whole number", type);
    template_check(real == nullptr || std::isfinite(*real), "format: '%{}' expects a finite number", type);
    const BigInteger whole = real != nullptr ? BigInteger::truncated(*real) : *value.whole();
    std::string digits = whole_digits(whole, type);
    const auto wanted = static_cast<size_t>(precision.value_or(0));
    if (digits.size() < wanted) digits.insert(0, wanted - digits.size(), '0');
    return alternate ? with_base_prefix(digits, type) : digits;
  }

  const std::string& text_;
  const Value& values_;
  TemplateBudget& budget_;
  size_t at_ = 0;
  size_t used_ = 0;
  bool by_name_ = false;
};

// ---- What stands behind the colon of {:...} ----

struct Specification {
  std::string fill = " ";
  char alignment = '\0';
  char sign = '-';
  bool alternate = false;
  bool zeros = false;
  size_t width = 0;
  char grouping = '\0';
  std::optional<int64_t> precision;
  char type = '\0';
};

bool is_alignment(char c) { return c == '<' || c == '>' || c == '^' || c == '='; }

Specification read_specification(const std::string& text) {
  Specification out;
  size_t at = 0;
  bool fills = false;
  if (!text.empty()) {
    const size_t first = code_point_at(text, 0).size;
    if (first < text.size() && is_alignment(text[first])) {
      out.fill = text.substr(0, first);
      fills = true;
      out.alignment = text[first];
      at = first + 1;
    } else if (is_alignment(text[0])) {
      out.alignment = text[0];
      at = 1;
    }
  }
  const auto take = [&](std::string_view wanted) {
    if (at >= text.size() || wanted.find(text[at]) == std::string_view::npos) return '\0';
    return text[at++];
  };
  if (const char sign = take("+- ")) out.sign = sign;
  out.alternate = take("#") != '\0';
  if (!fills && take("0") != '\0') {
    out.zeros = true;
    out.fill = "0";
    if (out.alignment == '\0') out.alignment = '=';
  }
  out.width = static_cast<size_t>(count_at(text, at, kMaxWidth, "width").value_or(0));
  out.grouping = take(",_");
  if (take(".") != '\0') {
    out.precision = count_at(text, at, kMaxPrecision, "precision");
    template_check(out.precision.has_value(), "format: the precision is missing in '{}'", text);
  }
  if (at < text.size()) out.type = text[at++];
  template_check(at == text.size(), "format: '{}' is not known", text);
  return out;
}

// Marks between groups of `size` digits.
std::string grouped(const std::string& digits, char mark, size_t size) {
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % size == 0) out += mark;
    out += digits[i];
  }
  return out;
}

// The digits of a number before its point or exponent, grouped, with zeros before them up to the width.
std::string numeric_text(const std::string& sign, const std::string& prefix, const std::string& digits,
                         const Specification& wanted, size_t group, TemplateBudget& budget) {
  const size_t end = std::min(
      digits.find_first_not_of(wanted.type == 'x' || wanted.type == 'X' ? "0123456789abcdefABCDEF" : "0123456789"),
      digits.size());
  std::string whole = digits.substr(0, end);
  const std::string rest = digits.substr(end);
  const size_t others = sign.size() + prefix.size() + rest.size();
  const bool fills = wanted.alignment == '=' && wanted.fill == "0";
  if (fills) budget.charge_bytes(wanted.width);
  const auto shown = [&] { return wanted.grouping == '\0' ? whole : grouped(whole, wanted.grouping, group); };
  if (fills && !whole.empty()) {
    const size_t room = wanted.width > others ? wanted.width - others : 0;
    size_t count = std::max(whole.size(), room);
    if (wanted.grouping != '\0') {
      // Every mark takes the place of a zero.
      count = std::max(whole.size(), room * group / (group + 1));
      while (count + (count - 1) / group < room) ++count;
    }
    whole.insert(0, count - whole.size(), '0');
  }
  const std::string number = shown() + rest;
  if (wanted.alignment != '=')
    return padded(sign + prefix + number, wanted.width, wanted.alignment == '\0' ? '>' : wanted.alignment, wanted.fill,
                  budget);
  const size_t taken = sign.size() + prefix.size();
  return sign + prefix + padded(number, wanted.width > taken ? wanted.width - taken : 0, '>', wanted.fill, budget);
}

std::string formatted_whole(const BigInteger& value, const Specification& wanted, TemplateBudget& budget) {
  template_check(!wanted.precision, "format: a whole number has no precision");
  const char type = wanted.type == '\0' || wanted.type == 'n' ? 'd' : wanted.type;
  if (type == 'c')
    return padded(character_of(Value::integer(value)), wanted.width, wanted.alignment == '\0' ? '<' : wanted.alignment,
                  wanted.fill, budget);
  template_check(wanted.grouping != ',' || type == 'd', "format: ',' belongs to decimal numbers");
  return numeric_text(sign_of(value.negative(), wanted.sign), wanted.alternate ? with_base_prefix("", type) : "",
                      whole_digits(value, type), wanted, type == 'd' ? 3 : 4, budget);
}

std::string formatted_real(const Value& value, const Specification& wanted, TemplateBudget& budget) {
  double number = real_of(value, wanted.type == '\0' ? 'f' : wanted.type);
  std::string digits;
  if (wanted.type == '%') {
    digits = real_digits(number * 100, 'f', wanted.precision.value_or(6), wanted.alternate) + "%";
  } else if (wanted.type == '\0' && !wanted.precision) {
    digits = float_text(std::abs(number));
  } else {
    const char type = wanted.type == '\0' || wanted.type == 'n' ? 'g' : wanted.type;
    digits = real_digits(number, type, wanted.precision.value_or(6), wanted.alternate);
    if (wanted.type == '\0' && std::isfinite(number) && digits.find_first_of(".e") == std::string::npos) digits += ".0";
  }
  return numeric_text(sign_of(std::signbit(number) && !std::isnan(number), wanted.sign), "", digits, wanted, 3, budget);
}

std::string formatted(const Value& value, const std::string& text, TemplateBudget& budget) {
  if (text.empty()) return converted(value, 's', budget);
  const Specification wanted = read_specification(text);
  const char type = wanted.type;
  if (value.get<double>() != nullptr || value.whole()) {
    const bool real = std::string_view("eEfFgG%").find(type) != std::string_view::npos;
    const bool whole = std::string_view("bcdoxXn").find(type) != std::string_view::npos;
    template_check(type == '\0' || real || whole, "format: '{}' is not known for numbers", type);
    if (value.get<double>() == nullptr && (!real || type == '\0'))
      return formatted_whole(*value.whole(), wanted, budget);
    template_check(type == '\0' || type == 'n' || real, "format: '{}' expects a whole number", type);
    return formatted_real(value, wanted, budget);
  }
  template_check(value.is_string(), "format: '{}' does not suit a {}", text, value.type_name());
  template_check((type == '\0' || type == 's') && wanted.sign == '-' && !wanted.alternate && wanted.grouping == '\0' &&
                     (wanted.alignment != '=' || wanted.zeros),
                 "format: '{}' does not suit a text", text);
  const std::string shown = wanted.precision ? first_characters(*value.string(), *wanted.precision) : *value.string();
  const char alignment = wanted.alignment == '\0' || wanted.alignment == '=' ? '<' : wanted.alignment;
  return padded(shown, wanted.width, alignment, wanted.fill, budget);
}

// ---- text.format(...) ----

class BraceFormat {
 public:
  BraceFormat(const std::vector<Value>& places, const std::vector<std::pair<std::string, Value>>& named,
              TemplateBudget& budget)
      : places_(places), named_(named), budget_(budget) {}

  std::string run(const std::string& text, int depth) {
    template_check(depth <= 1, "format: braces are nested too deeply");
    std::string out;
    for (size_t at = 0; at < text.size();) {
      const char c = text[at++];
      if (c != '{' && c != '}') {
        out += c;
        continue;
      }
      if (at < text.size() && text[at] == c) {
        out += c;
        ++at;
        continue;
      }
      template_check(c == '{', "format: '}}' closes nothing");
      size_t end = at;
      for (int open = 1; open > 0; ++end) {
        template_check(end < text.size(), "format: '{{' has no end");
        open += text[end] == '{' ? 1 : text[end] == '}' ? -1 : 0;
      }
      const std::string piece = field(text.substr(at, end - at - 1), depth);
      budget_.charge_bytes(piece.size());
      out += piece;
      at = end;
    }
    return out;
  }

 private:
  std::string field(const std::string& text, int depth) {
    // In brackets neither mark has a meaning.
    size_t end = 0;
    for (bool brackets = false; end < text.size() && (brackets || (text[end] != '!' && text[end] != ':')); ++end) {
      brackets = text[end] == '[' || (brackets && text[end] != ']');
    }
    Value value = value_of(text.substr(0, end));
    if (end < text.size() && text[end] == '!') {
      template_check(end + 1 < text.size(), "format: the conversion behind '!' is missing");
      const char conversion = text[end + 1];
      template_check(conversion == 's' || conversion == 'r' || conversion == 'a', "format: '!{}' is not known",
                     conversion);
      value = converted(value, conversion, budget_);
      end += 2;
      template_check(end == text.size() || text[end] == ':', "format: expected ':' behind a conversion");
    }
    return formatted(value, end < text.size() ? run(text.substr(end + 1), depth + 1) : "", budget_);
  }

  Value value_of(const std::string& name) {
    const size_t end = std::min(name.find_first_of(".["), name.size());
    Value out = first_value(name.substr(0, end));
    for (size_t at = end; at < name.size();) {
      budget_.charge(1);
      if (name[at] == '.') {
        const size_t next = std::min(name.find_first_of(".[", at + 1), name.size());
        template_check(next > at + 1, "format: a name is missing in '{}'", name);
        out = attribute_of(out, name.substr(at + 1, next - at - 1), budget_);
        at = next;
        continue;
      }
      const size_t next = name.find(']', at);
      template_check(name[at] == '[' && next != std::string::npos && next > at + 1, "format: '{}' is not understood",
                     name);
      const std::string key = name.substr(at + 1, next - at - 1);
      size_t digits = 0;
      const auto index = count_at(key, digits, 1'000'000'000, "place");
      out = item_of(out, index && digits == key.size() ? Value(*index) : Value(key), budget_);
      at = next + 1;
    }
    return out;
  }

  Value first_value(const std::string& name) {
    size_t digits = 0;
    auto place = count_at(name, digits, 1'000'000'000, "place");
    if (name.empty() || (place && digits == name.size())) {
      const int kind = name.empty() ? 1 : 2;
      template_check(numbering_ == 0 || numbering_ == kind, "format: numbered places among some without a number");
      numbering_ = kind;
      const size_t at = name.empty() ? next_++ : static_cast<size_t>(*place);
      template_check(at < places_.size(), "format: there is no value {}", at);
      return places_[at];
    }
    budget_.charge(named_.size() / 16);
    const auto found = std::find_if(named_.begin(), named_.end(), [&](const auto& one) { return one.first == name; });
    template_check(found != named_.end(), "format: there is no '{}'", name);
    return found->second;
  }

  const std::vector<Value>& places_;
  const std::vector<std::pair<std::string, Value>>& named_;
  TemplateBudget& budget_;
  size_t next_ = 0;
  int numbering_ = 0;  // 1: places follow one another, 2: they are numbered
};

}  // namespace

std::string format_percent(const std::string& text, const Value& values, TemplateBudget& budget) {
  budget.charge_bytes(text.size() * 16);
  return PercentFormat(text, values, budget).run();
}

std::string format_braces(const std::string& text, const std::vector<Value>& places,
                          const std::vector<std::pair<std::string, Value>>& named, TemplateBudget& budget) {
  budget.charge_bytes(text.size() * 16);
  return BraceFormat(places, named, budget).run(text, 0);
}

std::string padded(const std::string& text, size_t width, char alignment, const std::string& fill,
                   TemplateBudget& budget) {
  const size_t size = count_code_points(text);
  const size_t missing = width > size ? width - size : 0;
  budget.charge_bytes(missing * fill.size());
  size_t before = alignment == '<' ? 0 : missing;
  if (alignment == '^') before = missing / 2;
  std::string out;
  for (size_t i = 0; i < before; ++i) out += fill;
  out += text;
  for (size_t i = before; i < missing; ++i) out += fill;
  return out;
}

}  // namespace incontext::text

#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "text/template_value.h"

namespace incontext::text {

/// The arguments of a filter, test or function. take() and its kin find one by place or name; finish() makes left-over
/// arguments a fault.
class Arguments {
 public:
  Arguments(std::string function, std::vector<Value> places, std::vector<std::pair<std::string, Value>> named)
      : function_(std::move(function)), places_(std::move(places)), named_(std::move(named)) {}

  /// The next argument by place, or the one of this name; nothing when neither is there.
  std::optional<Value> take(const std::string& name);
  Value require(const std::string& name);
  std::string text(const std::string& name);
  std::string text_or(const std::string& name, std::string fallback);
  int64_t integer_or(const std::string& name, int64_t fallback);
  bool flag_or(const std::string& name, bool fallback);
  /// All that are left, by place.
  std::vector<Value> rest();
  /// Takes a named argument only.
  std::optional<Value> take_named(const std::string& name);
  std::vector<std::pair<std::string, Value>> rest_named();
  void finish() const;

  /// Of all values together.
  size_t weight() const;
  size_t named_count() const { return named_.size(); }
  const std::string& function() const { return function_; }

 private:
  std::string function_;
  std::vector<Value> places_;
  std::vector<std::pair<std::string, Value>> named_;
  size_t next_ = 0;
};

bool is_filter(const std::string& name);
Value apply_filter(const std::string& name, const Value& subject, Arguments arguments, TemplateBudget& budget);

bool is_test(const std::string& name);
bool apply_test(const std::string& name, const Value& subject, Arguments arguments, TemplateBudget& budget);

/// Methods of texts and dictionaries.
bool has_method(const Value& receiver, const std::string& name);
Value call_method(const Value& receiver, const std::string& name, Arguments arguments, TemplateBudget& budget);

/// value.name and value[key], undefined when there is none.
Value attribute_of(const Value& value, const std::string& name, TemplateBudget& budget);
Value item_of(const Value& value, const Value& key, TemplateBudget& budget);
Value slice_of(const Value& value, std::optional<int64_t> begin, std::optional<int64_t> end, int64_t step,
               TemplateBudget& budget);

Value apply_binary(const std::string& name, const Value& left, const Value& right, TemplateBudget& budget);
bool is_in(const Value& item, const Value& container, TemplateBudget& budget);

/// Pieces of texts that filters and methods share. `characters` empty: white space.
std::string strip_text(std::string_view text, std::string_view characters, bool left, bool right);
std::string upper_text(std::string_view text);
std::string capitalized(std::string_view text);
std::string replace_in(const std::string& text, const std::string& from, const std::string& to, int64_t count,
                       TemplateBudget& budget);
std::vector<std::string> lines_of(std::string_view text);
/// As std::string_view::find() and rfind(), but never slower than the texts are long.
size_t find_in(std::string_view text, std::string_view wanted, size_t from = 0);
size_t find_last_in(std::string_view text, std::string_view wanted);

/// The value as a whole number, or a fault that names what it is for.
int64_t integer_of(const Value& value, const std::string& what);

}  // namespace incontext::text

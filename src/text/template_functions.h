#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "text/python_text.h"
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
  /// A text, or nothing where it is absent or none.
  std::optional<std::string> text_or_none(const std::string& name);
  /// All that are left, by place.
  std::vector<Value> rest();
  size_t rest_count() const { return places_.size() - next_; }
  /// Takes a named argument only.
  std::optional<Value> take_named(const std::string& name);
  std::vector<std::pair<std::string, Value>> rest_named();
  void finish() const;

  /// Of all values together.
  size_t weight() const;
  void add_named(std::string name, Value value) { named_.emplace_back(std::move(name), std::move(value)); }
  size_t named_count() const { return named_.size(); }
  const std::string& function() const { return function_; }

 private:
  std::string function_;
  std::vector<Value> places_;
  std::vector<std::pair<std::string, Value>> named_;
  size_t next_ = 0;
};

inline constexpr const char* kUnknownFilter = "the filter '{}' is not supported";
inline constexpr const char* kUnknownTest = "the test '{}' is not supported";

bool is_filter(const std::string& name);
std::vector<std::string> filter_names();
Value apply_filter(const std::string& name, const Value& subject, Arguments arguments, TemplateBudget& budget);

bool is_test(const std::string& name);
std::vector<std::string> test_names();
bool apply_test(const std::string& name, const Value& subject, Arguments arguments, TemplateBudget& budget);

/// Functions that a template sees under their names: what it is given hides them.
bool is_global(const std::string& name);
std::vector<std::string> global_names();

/// Methods of texts, lists, dictionaries and numbers.
bool has_method(const Value& receiver, const std::string& name);
std::vector<std::string> method_names(const Value& receiver);
/// A method that changes its value, which the sandbox of transformers does not let templates do.
bool is_changing_method(const Value& receiver, const std::string& name);
Value call_method(const Value& receiver, const std::string& name, Arguments arguments, TemplateBudget& budget);

/// value.name and value[key], undefined when there is none.
Value attribute_of(const Value& value, const std::string& name, TemplateBudget& budget);
Value item_of(const Value& value, const Value& key, TemplateBudget& budget);
Value slice_of(const Value& value, std::optional<int64_t> begin, std::optional<int64_t> end, int64_t step,
               TemplateBudget& budget);

Value apply_binary(const std::string& name, const Value& left, const Value& right, TemplateBudget& budget);
bool is_in(const Value& item, const Value& container, TemplateBudget& budget);

using TextMethod = Value (*)(const std::string&, Arguments&, TemplateBudget&);
const std::map<std::string, TextMethod, std::less<>>& text_methods();

/// The value of "a.b" or 0 in an item; `fallback` wherever it is undefined on the way.
Value path_of(const Value& item, const Value& path, TemplateBudget& budget, const Value* fallback = nullptr);

/// Pieces of texts that filters and methods share. `characters` empty: white space.
std::string strip_text(std::string_view text, std::string_view characters, bool left, bool right);
std::string replace_in(const std::string& text, const std::string& from, const std::string& to, int64_t count,
                       TemplateBudget& budget);
/// As Python's splitlines().
std::vector<std::string> lines_of(std::string_view text, bool keep_ends = false);
/// Python's int() and float() of a text; nothing where it is none.
std::optional<BigInteger> whole_number_in(const std::string& text, int base = 10);
std::optional<double> real_number_in(const std::string& text);
/// As std::string_view::find() and rfind(), but never slower than the texts are long.
size_t find_in(std::string_view text, std::string_view wanted, size_t from = 0);
size_t find_last_in(std::string_view text, std::string_view wanted);

/// The value as a whole number of 64 bits, or a fault that names what it is for.
int64_t integer_of(const Value& value, const std::string& what);

}  // namespace incontext::text

#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/config_node.h"
#include "base/error.h"
#include "text/big_integer.h"

namespace incontext::text {

/// Something wrong in a template, without the place: whoever runs it adds the line.
struct TemplateFault {
  std::string message;
};

template <class... Args>
[[noreturn]] void template_fail(fmt::format_string<Args...> format, Args&&... args) {
  throw TemplateFault{fmt::format(format, std::forward<Args>(args)...)};
}

template <class... Args>
void template_check(bool condition, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition) template_fail(format, std::forward<Args>(args)...);
}

struct Statement;
struct TemplateScope;
class Value;
class TemplateBudget;

struct Undefined {
  std::string name;      // for messages: what is undefined
  std::string why = {};  // or the message itself
};
struct None {};
struct List;
struct Dictionary;
struct Namespace;
struct LoopState;
struct Function;
struct Generator;

/// What Python has several types for that are all gone through in order.
enum class ListKind {
  list,
  tuple,
  group,  // of groupby: a tuple whose two items have the names grouper and list
  range,  // what range() gives
  keys,   // what the methods of a dictionary of these names give
  values,
  pairs,
};

/// A value of a template, with Python's meaning of everything. Lists and dictionaries never change once made, so that
/// they hold no cycles. Namespaces, loops and scopes change: whoever makes them empties them in the end.
class Value {
 public:
  using String = std::shared_ptr<const std::string>;
  using Data =
      std::variant<Undefined, None, bool, int64_t, double, String, std::shared_ptr<const List>,
                   std::shared_ptr<const Dictionary>, std::shared_ptr<Namespace>, std::shared_ptr<LoopState>,
                   std::shared_ptr<const Function>, std::shared_ptr<Generator>, std::shared_ptr<const BigInteger>>;

  Value() = default;
  Value(None none) : data_(none) {}
  Value(bool value) : data_(value) {}
  Value(int64_t value) : data_(value) {}
  Value(double value) : data_(value) {}
  Value(std::string value) : data_(std::make_shared<const std::string>(std::move(value))) {}
  Value(std::string_view value) : Value(std::string(value)) {}
  Value(const char* value) : Value(std::string(value)) {}
  Value(std::shared_ptr<Namespace> value) : data_(std::move(value)) {}
  Value(std::shared_ptr<LoopState> value) : data_(std::move(value)) {}
  Value(std::shared_ptr<const Function> value) : data_(std::move(value)) {}
  Value(const void*) = delete;

  static Value undefined(std::string name, std::string why = "");
  /// A list or dictionary that would nest deeper than a fixed limit is a fault.
  static Value list(std::vector<Value> items, ListKind kind = ListKind::list);
  /// Of equal keys the first stays, with the last value.
  static Value dictionary(std::vector<std::pair<Value, Value>> entries);
  /// What range(begin, end, step) gives.
  static Value range(std::vector<Value> items, int64_t begin, int64_t end, int64_t step);
  /// A number of more digits than kMaxDigits is a fault.
  static Value integer(BigInteger value);
  static Value generator(Generator made);

  template <class T>
  const T* get() const {
    return std::get_if<T>(&data_);
  }
  bool is_undefined() const { return get<Undefined>() != nullptr; }
  bool is_none() const { return get<None>() != nullptr; }
  bool is_string() const { return get<String>() != nullptr; }
  /// Null when it is something else.
  const std::string* string() const;
  const std::vector<Value>* items() const;
  const List* list() const;
  /// Python's list and tuple themselves, groups among them.
  bool is_list() const;
  bool is_tuple() const;
  const Dictionary* entries() const;
  const std::shared_ptr<Namespace>* name_space() const { return get<std::shared_ptr<Namespace>>(); }
  LoopState* loop() const;
  const Function* function() const;
  Generator* generator() const;
  /// A whole number of any size, but no boolean.
  bool is_integer() const;
  /// Whole numbers of any size, and booleans as 0 and 1.
  std::optional<BigInteger> whole() const;

  /// Where the value lies that two of them may share; null of those that are equal by what they say.
  const void* identity() const;

  bool truth() const;
  /// As Python names the type: "str", "list".
  std::string type_name() const;
  /// Levels of lists and dictionaries.
  size_t depth() const;
  /// How long it takes to go through all of it: a step for every value and for 64 bytes of text. What is held twice
  /// counts twice, so that a small template can make values of any weight; no more is counted than a huge number.
  size_t weight() const;

 private:
  Data data_;
};

struct List {
  std::vector<Value> items;
  size_t depth = 1;
  ListKind kind = ListKind::list;
  size_t weight = 1;
  // Of a range.
  int64_t begin = 0;
  int64_t end = 0;
  int64_t step = 1;
};

struct Dictionary {
  std::vector<std::pair<Value, Value>> entries;  // in order, keys differ
  size_t depth = 1;
  size_t weight = 1;
  const Value* find(std::string_view key) const;
  const Value* find(const Value& key) const;
};

struct Namespace {
  std::vector<std::pair<std::string, Value>> entries;
  const Value* find(std::string_view key) const;
  void set(const std::string& key, Value value);
};

/// The `loop` of a for block.
struct LoopState {
  std::shared_ptr<const List> items;
  size_t index = 0;                           // of the round
  int64_t depth = 0;                          // loops of the same block around this one
  const Statement* recursive = nullptr;       // the block that a call goes through again
  std::shared_ptr<TemplateScope> scope = {};  // where it stands
  std::optional<Value> last_changed = {};     // what changed() was last given
};

/// A macro, a global function, a method of a value, or an object of one of the globals that make some.
struct Function {
  enum class Kind { macro, global, method, loop_cycle, loop_changed, joiner, cycler, cycler_next, cycler_reset };
  Kind kind = Kind::global;
  std::string name;
  Value receiver = {};                        // of a method or a loop; what a joiner or cycler was given
  const Statement* macro = nullptr;           // belongs to the template
  std::shared_ptr<TemplateScope> scope = {};  // where a macro was defined
  std::shared_ptr<size_t> count = {};         // the calls of a joiner or cycler so far
};

/// What some filters give, as in Jinja: values that are computed when they are asked for, and come once.
struct Generator {
  using Next = std::function<std::optional<Value>(TemplateBudget&)>;
  std::string name;  // as Python writes it
  Next next;         // empty at the end
  size_t depth = 1;  // one more than what it goes through
  bool running = false;
};

/// What is left to a run of a template. Everything that takes time or memory is charged, before it does, so that no
/// template can hang or crash the program.
class TemplateBudget {
 public:
  explicit TemplateBudget(size_t steps) : left_(steps) {}

  void charge(size_t units) {
    template_check(units <= left_, "the template takes too many steps");
    left_ -= units;
  }
  /// Making a text or list of this many bytes.
  void charge_bytes(size_t bytes) { charge(1 + bytes / 64); }
  /// Going through all of a value.
  void charge_walk(const Value& value) { charge(value.weight()); }
  /// Counts generators that ask one another, as long as it lives.
  struct Level {
    explicit Level(TemplateBudget& budget) : levels_(budget.levels_) {
      template_check(levels_ < kMaxLevels, "filters go through filters too deeply");
      ++levels_;
    }
    ~Level() { --levels_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;
    size_t& levels_;
  };

  /// Comparing two values, which ends where the smaller one does.
  void charge_comparison(const Value& left, const Value& right) { charge(std::min(left.weight(), right.weight())); }

 private:
  static constexpr size_t kMaxLevels = 100;

  size_t left_;
  size_t levels_ = 0;
};

/// As in Python, which writes and reads no more.
inline constexpr size_t kMaxDigits = 4300;

// Those below that are given no budget go through all of their values: whoever calls them charges for it.

Value value_from_json(const base::Json& json);

/// What {{ value }} writes: Python's str().
std::string to_text(const Value& value);
/// Python's repr(): texts in quotes.
std::string representation_of(const Value& value);
/// Python's repr of a float.
std::string float_text(double value);

struct JsonStyle {
  std::string indent;  // "" with `lines` false: all in one line
  bool lines = false;
  bool sort_keys = false;
  bool ascii_only = false;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};

/// Python's json.dumps.
std::string to_json(const Value& value, const JsonStyle& style);

bool values_equal(const Value& left, const Value& right);
/// Negative, 0 or positive; values without an order are a fault.
int compare_values(const Value& left, const Value& right);
/// A value that may be the key of a dictionary, or a fault.
void check_key(const Value& key);
/// What a for block goes through: of a text its characters, of a dictionary its keys.
std::vector<Value> iterate(const Value& value, TemplateBudget& budget);
/// The next of a generator, nothing at its end.
std::optional<Value> next_of(Generator& generator, TemplateBudget& budget);
/// The number of items, characters or keys.
int64_t length_of(const Value& value);

}  // namespace incontext::text

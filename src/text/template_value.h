#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/config_node.h"
#include "base/error.h"

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
class Value;
class TemplateBudget;

struct Undefined {
  std::string name;  // for messages: what is undefined
};
struct None {};
struct List;
struct Dictionary;
struct Namespace;
struct LoopState;
struct Function;

/// A value of a template, with Python's meaning of everything. Lists and dictionaries never change once made, so that
/// values hold no cycles; a namespace is the only thing that does.
class Value {
 public:
  using String = std::shared_ptr<const std::string>;
  using Data = std::variant<Undefined, None, bool, int64_t, double, String, std::shared_ptr<const List>,
                            std::shared_ptr<const Dictionary>, std::shared_ptr<Namespace>,
                            std::shared_ptr<const LoopState>, std::shared_ptr<const Function>>;

  Value() = default;
  Value(None none) : data_(none) {}
  Value(bool value) : data_(value) {}
  Value(int64_t value) : data_(value) {}
  Value(double value) : data_(value) {}
  Value(std::string value) : data_(std::make_shared<const std::string>(std::move(value))) {}
  Value(std::string_view value) : Value(std::string(value)) {}
  Value(const char* value) : Value(std::string(value)) {}
  Value(std::shared_ptr<Namespace> value) : data_(std::move(value)) {}
  Value(std::shared_ptr<const LoopState> value) : data_(std::move(value)) {}
  Value(std::shared_ptr<const Function> value) : data_(std::move(value)) {}
  Value(const void*) = delete;

  static Value undefined(std::string name);
  /// A list or dictionary that would nest deeper than a fixed limit is a fault.
  static Value list(std::vector<Value> items, bool is_tuple = false);
  static Value dictionary(std::vector<std::pair<std::string, Value>> entries);

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
  bool is_tuple() const;
  const Dictionary* entries() const;
  const std::shared_ptr<Namespace>* name_space() const { return get<std::shared_ptr<Namespace>>(); }
  const LoopState* loop() const;
  const Function* function() const;

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
  bool is_tuple = false;  // written in round brackets, and equal to no list
  size_t weight = 1;
};

struct Dictionary {
  std::vector<std::pair<std::string, Value>> entries;  // in order, keys differ
  size_t depth = 1;
  size_t weight = 1;
  const Value* find(std::string_view key) const;
};

struct Namespace {
  std::vector<std::pair<std::string, Value>> entries;
  const Value* find(std::string_view key) const;
  void set(const std::string& key, Value value);
};

/// The `loop` of a for block, at one of its rounds.
struct LoopState {
  std::shared_ptr<const List> items;
  size_t index = 0;
};

/// A macro, a global function or a method of a value.
struct Function {
  enum class Kind { macro, global, method, loop_cycle };
  Kind kind = Kind::global;
  std::string name;
  Value receiver;                    // of a method or a loop
  const Statement* macro = nullptr;  // belongs to the template
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
  /// Comparing two values, which ends where the smaller one does.
  void charge_comparison(const Value& left, const Value& right) { charge(std::min(left.weight(), right.weight())); }

 private:
  size_t left_;
};

// Those below that are given no budget go through all of their values: whoever calls them charges for it.

Value value_from_json(const base::Json& json);

/// What {{ value }} writes: Python's str().
std::string to_text(const Value& value);

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
/// What a for block goes through: of a text its characters, of a dictionary its keys.
std::vector<Value> iterate(const Value& value, TemplateBudget& budget);
/// The number of items, characters or keys.
int64_t length_of(const Value& value);

}  // namespace incontext::text

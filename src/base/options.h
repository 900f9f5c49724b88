#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "base/config_node.h"
#include "base/error.h"

// Option structs are plain structs with defaults. Each lists its fields once,
//
//   struct OptimizerOptions {
//     std::string name = "adam";
//     double learning_rate = 1e-3;
//     template <class Visitor> void visit(Visitor& v) {
//       v.field("name", name, "update rule", one_of({"adam", "adamw"}));
//       v.field("learning_rate", learning_rate, "step size", positive());
//     }
//     std::string validate() const { return ""; }   // optional: the first problem between fields, or ""
//   };
//
// and from that list come reading (YAML, JSON, --set), writing (JSON, YAML) and help.

namespace incontext::base {

/// What a field may hold, checked when it is read, so that the message can name the line.
struct Allowed {
  double minimum = -std::numeric_limits<double>::infinity();
  double maximum = std::numeric_limits<double>::infinity();
  bool minimum_excluded = false;
  std::vector<std::string> choices;
};

inline Allowed anything() { return {}; }
inline Allowed at_least(double minimum) { return {.minimum = minimum, .choices = {}}; }
inline Allowed between(double minimum, double maximum) {
  return {.minimum = minimum, .maximum = maximum, .choices = {}};
}
inline Allowed positive() { return {.minimum = 0, .minimum_excluded = true, .choices = {}}; }
inline Allowed one_of(std::vector<std::string> choices) { return {.choices = std::move(choices)}; }

namespace detail {

template <class T>
struct is_vector : std::false_type {};
template <class T>
struct is_vector<std::vector<T>> : std::true_type {};
template <class T>
struct is_optional : std::false_type {};
template <class T>
struct is_optional<std::optional<T>> : std::true_type {};

/// Reads one scalar; `name` is the dotted name for messages.
void read_scalar(const ConfigNode& node, const std::string& name, const Allowed& allowed, bool& value);
void read_scalar(const ConfigNode& node, const std::string& name, const Allowed& allowed, int64_t& value);
void read_scalar(const ConfigNode& node, const std::string& name, const Allowed& allowed, uint64_t& value);
void read_scalar(const ConfigNode& node, const std::string& name, const Allowed& allowed, double& value);
void read_scalar(const ConfigNode& node, const std::string& name, const Allowed& allowed, std::string& value);

template <class T>
void read_value(const ConfigNode& node, const std::string& name, const Allowed& allowed, T& value) {
  if constexpr (is_optional<T>::value) {
    if (node.kind == ConfigNode::Kind::null) {
      value.reset();
    } else {
      typename T::value_type inner{};
      read_value(node, name, allowed, inner);
      value = std::move(inner);
    }
  } else if constexpr (is_vector<T>::value) {
    check(node.kind == ConfigNode::Kind::sequence, "{}: {}: expected a list such as [1, 2], got {}", node.where, name,
          node.kind == ConfigNode::Kind::scalar ? "'" + node.scalar + "'" : "something else");
    value.clear();
    for (const ConfigNode& item : node.items) {
      typename T::value_type element{};
      read_value(item, fmt::format("{}[{}]", name, value.size()), allowed, element);
      value.push_back(std::move(element));
    }
  } else {
    read_scalar(node, name, allowed, value);
  }
}

template <class T>
Json json_of(const T& value) {
  if constexpr (is_optional<T>::value) {
    return value ? json_of(*value) : Json(nullptr);
  } else if constexpr (is_vector<T>::value) {
    Json array = Json::array();
    for (const auto& item : value) array.push_back(json_of(item));
    return array;
  } else {
    return Json(value);
  }
}

/// Throws unless `node` may hold a group of fields.
void check_group(const ConfigNode& node, const std::string& prefix);

/// Throws for the first key of `node` that is not among `known`, naming its line and the nearest known key.
void check_known_keys(const ConfigNode& node, const std::string& prefix, const std::vector<std::string>& known);

template <class Options>
concept Validated = requires(const Options& options) {
  { options.validate() } -> std::convertible_to<std::string>;
};

class OptionReader {
 public:
  OptionReader(const ConfigNode& node, std::string prefix) : node_(node), prefix_(std::move(prefix)) {
    check_group(node, prefix_);
  }

  template <class T>
  void field(const char* name, T& value, const char* /*help*/, const Allowed& allowed = {}) {
    known_.emplace_back(name);
    if (const ConfigNode* child = node_.find(name)) read_value(*child, prefix_ + name, allowed, value);
  }

  template <class Options>
  void group(const char* name, Options& options, const char* /*help*/) {
    known_.emplace_back(name);
    if (const ConfigNode* child = node_.find(name)) {
      OptionReader reader(*child, prefix_ + name + ".");
      options.visit(reader);
      reader.finish(options);
    } else {
      validate(options, prefix_ + name + ".");
    }
  }

  template <class Options>
  void finish(const Options& options) {
    check_known_keys(node_, prefix_, known_);
    validate(options, prefix_);
  }

 private:
  template <class Options>
  void validate(const Options& options, const std::string& prefix) {
    if constexpr (Validated<Options>) {
      const std::string problem = options.validate();
      check(problem.empty(), "{}: {}{}", node_.where, prefix, problem);
    }
  }

  const ConfigNode& node_;
  std::string prefix_;
  std::vector<std::string> known_;
};

class OptionWriter {
 public:
  template <class T>
  void field(const char* name, T& value, const char* /*help*/, const Allowed& /*allowed*/ = {}) {
    json_[name] = json_of(value);
  }
  template <class Options>
  void group(const char* name, Options& options, const char* /*help*/) {
    OptionWriter writer;
    options.visit(writer);
    json_[name] = std::move(writer.json_);
  }
  Json take() { return std::move(json_); }

 private:
  Json json_ = Json::object();
};

class OptionHelp {
 public:
  explicit OptionHelp(std::string prefix) : prefix_(std::move(prefix)) {}
  template <class T>
  void field(const char* name, T& value, const char* help, const Allowed& allowed = {}) {
    add(name, json_of(value), help, allowed);
  }
  template <class Options>
  void group(const char* name, Options& options, const char* /*help*/) {
    OptionHelp inner(prefix_ + name + ".");
    options.visit(inner);
    text_ += inner.text_;
  }
  std::string take() { return std::move(text_); }

 private:
  void add(const char* name, const Json& value, const char* help, const Allowed& allowed);
  std::string prefix_;
  std::string text_;
};

}  // namespace detail

/// Fills `options` from `node`; keys that are absent keep their value. Unknown keys, wrong types and values out
/// of range are errors that name the line; then validate() is asked, group by group.
template <class Options>
void read_options(const ConfigNode& node, Options& options) {
  detail::OptionReader reader(node, "");
  options.visit(reader);
  reader.finish(options);
}

/// All fields as JSON, groups nested.
template <class Options>
Json options_to_json(const Options& options) {
  detail::OptionWriter writer;
  const_cast<Options&>(options).visit(writer);  // a writer only reads
  return writer.take();
}

/// One line per field: dotted name, default, meaning, allowed values.
template <class Options>
std::string options_help(const Options& defaults = {}) {
  detail::OptionHelp help("");
  Options copy = defaults;
  copy.visit(help);
  return help.take();
}

/// JSON as block-style YAML that read_options() reads back to the same values.
std::string json_to_yaml(const Json& json);

}  // namespace incontext::base

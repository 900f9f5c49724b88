#pragma once

#include <concepts>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/config_node.h"
#include "base/enum_names.h"
#include "base/error.h"

// What a field of an option struct may be and hold (see options.h). A choice among few values is an enumeration with
// names (enum_names.h): they are what may be read, and what is written.

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

/// A list that may be given as its only element: `mlp: gelu` is `mlp: [gelu]`, and is written so.
template <class T>
struct OneOrMore : std::vector<T> {
  using std::vector<T>::vector;
  OneOrMore& operator=(const T& one) {
    this->assign({one});
    return *this;
  }
};

namespace detail {

/// A value that reads and writes itself, because what it may hold is known only once a part of it is read: `read` gets
/// its node and its dotted name.
template <class T>
concept ReadsItself = requires(T& value, const ConfigNode& node, const std::string& name) {
  value.read(node, name);
  { std::as_const(value).json() } -> std::convertible_to<Json>;
};

template <class T>
struct is_vector : std::false_type {};
template <class T>
struct is_vector<std::vector<T>> : std::true_type {};
template <class T>
struct is_one_or_more : std::false_type {};
template <class T>
struct is_one_or_more<OneOrMore<T>> : std::true_type {};
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

/// What a field of this type may hold if nothing is said: the names of an enumeration, alone or in a list.
template <class T>
Allowed allowed_of(const Allowed& said) {
  if constexpr (NamedEnum<T>) {
    return one_of(all_names<T>());
  } else if constexpr (is_optional<T>::value || is_one_or_more<T>::value || is_vector<T>::value) {
    return allowed_of<typename T::value_type>(said);
  } else {
    return said;
  }
}

template <class T>
void read_value(const ConfigNode& node, const std::string& name, const Allowed& allowed, T& value) {
  if constexpr (ReadsItself<T>) {
    value.read(node, name);
  } else if constexpr (NamedEnum<T>) {
    std::string text;
    read_scalar(node, name, allowed_of<T>(allowed), text);
    value = *value_named<T>(text);
  } else if constexpr (is_optional<T>::value) {
    if (node.kind == ConfigNode::Kind::null) {
      value.reset();
    } else {
      typename T::value_type inner{};
      read_value(node, name, allowed, inner);
      value = std::move(inner);
    }
  } else if constexpr (is_one_or_more<T>::value) {
    std::vector<typename T::value_type> list;
    if (node.kind == ConfigNode::Kind::sequence) {
      read_value(node, name, allowed, list);
    } else {
      read_value(node, name, allowed, list.emplace_back());
    }
    value.assign(list.begin(), list.end());
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
  if constexpr (ReadsItself<T>) {
    return value.json();
  } else if constexpr (NamedEnum<T>) {
    return name_of(value);
  } else if constexpr (is_optional<T>::value) {
    return value ? json_of(*value) : Json(nullptr);
  } else if constexpr (is_one_or_more<T>::value) {
    return value.size() == 1 ? json_of(value.front()) : json_of(std::vector<typename T::value_type>(value));
  } else if constexpr (is_vector<T>::value) {
    Json array = Json::array();
    for (const auto& item : value) array.push_back(json_of(item));
    return array;
  } else {
    return Json(value);
  }
}

}  // namespace detail

}  // namespace incontext::base

#pragma once

#include <concepts>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/config_node.h"
#include "base/error.h"
#include "base/option_values.h"

// The visitors behind options.h.

namespace incontext::base {

/// An option that was once called otherwise, by names within the struct that lists it.
struct OldName {
  const char* old_name;  // of a field or group of this struct itself
  const char* new_name;  // "a.b.c"
};

namespace detail {

/// Throws unless `node` may hold a group of fields.
void check_group(const ConfigNode& node, const std::string& prefix);

/// Throws for the first key of `node` that is not among `known`, naming its line and the nearest known key.
void check_known_keys(const ConfigNode& node, const std::string& prefix, const std::vector<std::string>& known);

/// `node` with what stands at old names moved to the new ones. Both given is an error that names the lines. An old name
/// that is now the name of a group is the old one where it holds anything but a group.
ConfigNode with_new_names(const ConfigNode& node, std::span<const OldName> names, const std::string& prefix);

template <class Options>
concept Validated = requires(const Options& options) {
  { options.validate() } -> std::convertible_to<std::string>;
};

template <class Options>
concept Renamed = requires {
  { Options::old_names() } -> std::convertible_to<std::span<const OldName>>;
};

template <class Options>
void read_fields(const ConfigNode& node, Options& options, const std::string& prefix);

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
      read_fields(*child, options, prefix_ + name + ".");
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

template <class Options>
void read_fields(const ConfigNode& node, Options& options, const std::string& prefix) {
  const auto read = [&](const ConfigNode& named) {
    OptionReader reader(named, prefix);
    options.visit(reader);
    reader.finish(options);
  };
  if constexpr (Renamed<Options>) {
    read(with_new_names(node, Options::old_names(), prefix));
  } else {
    read(node);
  }
}

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
    add(name, json_of(value), help, allowed_of<T>(allowed));
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

}  // namespace incontext::base

#pragma once

#include <string>

#include "base/config_node.h"
#include "base/option_values.h"
#include "base/option_visitors.h"

// Option structs are plain structs with defaults. Each lists its fields once,
//
//   struct OptimizerOptions {
//     UpdateRule name = UpdateRule::adam;           // an enumeration with names: enum_names.h
//     double learning_rate = 1e-3;
//     template <class Visitor> void visit(Visitor& v) {
//       v.field("name", name, "update rule");
//       v.field("learning_rate", learning_rate, "step size", positive());
//     }
//     std::string validate() const { return ""; }   // optional: the first problem between fields, or ""
//     static std::span<const OldName> old_names();  // optional: fields and groups that were once called otherwise
//   };
//
// and from that list come reading (YAML, JSON, --set), writing (JSON, YAML) and help.

namespace incontext::base {

/// Fills `options` from `node`; keys that are absent keep their value. Unknown keys, wrong types and values out
/// of range are errors that name the line; then validate() is asked, group by group. `prefix` stands before the names
/// in errors where the options are a group of others: "task.".
template <class Options>
void read_options(const ConfigNode& node, Options& options, const std::string& prefix = "") {
  detail::read_fields(node, options, prefix);
}

/// Fills `value` from the field with this dotted name, where it is given: for readers that need no more of a file.
template <class T>
void read_option(const ConfigNode& root, const std::string& name, T& value) {
  const ConfigNode* node = find_option(root, name);
  if (node != nullptr) detail::read_value(*node, name, {}, value);
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

#pragma once

#include <nlohmann/json.hpp>

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace incontext::base {

using Json = nlohmann::ordered_json;

/// A configuration value together with the place it came from, whatever that was: a YAML file, a JSON file, or
/// an assignment on the command line. Option structs are read from it (see options.h).
struct ConfigNode {
  enum class Kind { null, scalar, sequence, mapping };

  // In config_node.cpp: clang compiles what stands here before a vector of pairs with nodes can be made.
  ConfigNode();
  ~ConfigNode();
  ConfigNode(const ConfigNode&);
  ConfigNode(ConfigNode&&) noexcept;
  ConfigNode& operator=(const ConfigNode&);
  ConfigNode& operator=(ConfigNode&&) noexcept;

  Kind kind = Kind::null;
  std::string scalar;                                       // text of a scalar
  bool quoted = false;                                      // a quoted scalar is always a string
  std::vector<ConfigNode> items;                            // of a sequence
  std::vector<std::pair<std::string, ConfigNode>> entries;  // of a mapping, in order
  std::string where;                                        // "train.yaml:12" or "--set a.b=c"
  std::string replaced;  // where what merge_config() replaced by this stood, of which only one is a mapping

  const ConfigNode* find(std::string_view key) const;
  ConfigNode* find(std::string_view key);
};

/// Parses YAML text; `name` stands for the file in messages. Duplicate keys are errors.
ConfigNode parse_yaml(const std::string& text, const std::string& name);

/// Reads a YAML file and, before its own keys, those of the files that its top-level `inherit:` (a name or a
/// list of names, relative to the file) tells. Later files win, the file itself wins last; mappings merge key by
/// key, all else is replaced. A file that inherits itself, directly or not, is an error.
ConfigNode load_yaml(const std::filesystem::path& path);

/// What stands at "a.b.c"; null where there is nothing.
const ConfigNode* find_option(const ConfigNode& root, const std::string& name);

/// The same tree from parsed JSON.
ConfigNode config_from_json(const Json& json, const std::string& where);

/// Lays `overlay` over `target`: mappings merge key by key, all else is replaced.
void merge_config(ConfigNode& target, const ConfigNode& overlay);

/// Applies one "a.b.c=value" assignment; the value is YAML. Missing mappings on the way are made.
void apply_assignment(ConfigNode& target, const std::string& assignment);

}  // namespace incontext::base

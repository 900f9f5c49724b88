#include "base/config_node.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

namespace incontext::base {
namespace {

namespace fs = std::filesystem;

// An anchor that holds an alias of itself would be unfolded without end.
constexpr int kMaximumDepth = 50;

ConfigNode convert(const YAML::Node& yaml, const std::string& name, const std::string& fixed_where, int depth = 0) {
  const auto place = [&](const YAML::Node& at) {
    return fixed_where.empty() ? fmt::format("{}:{}", name, std::max(at.Mark().line + 1, 1)) : fixed_where;
  };
  ConfigNode node;
  node.where = place(yaml);
  check(depth < kMaximumDepth, "{}: expected at most {} levels of nesting", node.where, kMaximumDepth);
  switch (yaml.Type()) {
    case YAML::NodeType::Undefined:
    case YAML::NodeType::Null:
      break;
    case YAML::NodeType::Scalar:
      node.kind = ConfigNode::Kind::scalar;
      node.scalar = yaml.Scalar();
      node.quoted = yaml.Tag() == "!" || yaml.Tag() == "tag:yaml.org,2002:str";
      break;
    case YAML::NodeType::Sequence:
      node.kind = ConfigNode::Kind::sequence;
      for (const auto& item : yaml) node.items.push_back(convert(item, name, fixed_where, depth + 1));
      break;
    case YAML::NodeType::Map:
      node.kind = ConfigNode::Kind::mapping;
      for (const auto& entry : yaml) {
        check(entry.first.IsScalar(), "{}: expected a plain name as key", place(entry.first));
        const std::string key = entry.first.Scalar();
        ConfigNode value = convert(entry.second, name, fixed_where, depth + 1);
        value.where = place(entry.first);
        check(node.find(key) == nullptr, "{}: key '{}' appears twice (first at {})", value.where, key,
              node.find(key) ? node.find(key)->where : "");
        node.entries.emplace_back(key, std::move(value));
      }
      break;
  }
  return node;
}

ConfigNode parse_with_where(const std::string& text, const std::string& name, const std::string& fixed_where) {
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAll(text);
    if (documents.size() > 1) {
      const ConfigNode second = convert(documents[1], name, fixed_where);
      fail("{}: expected one YAML document, got another after '---'", second.where);
    }
    return convert(documents.empty() ? YAML::Node() : documents[0], name, fixed_where);
  } catch (const YAML::Exception& error) {
    if (!fixed_where.empty()) fail("{}: not valid YAML: {}", fixed_where, error.msg);
    fail("{}:{}: not valid YAML: {}", name, error.mark.line + 1, error.msg);
  }
}

ConfigNode load_with_ancestors(const fs::path& path, std::vector<fs::path>& ancestors) {
  std::error_code unreadable;  // left to read_file(), which tells why
  const fs::path canonical = fs::weakly_canonical(path, unreadable);
  if (std::find(ancestors.begin(), ancestors.end(), canonical) != ancestors.end()) {
    std::vector<std::string> chain;
    chain.reserve(ancestors.size() + 1);
    for (const fs::path& ancestor : ancestors) chain.push_back(ancestor.filename().string());
    chain.push_back(canonical.filename().string());
    fail("{}: the configuration inherits itself: {}", path.string(), fmt::join(chain, " -> "));
  }
  ancestors.push_back(canonical);
  ConfigNode own = parse_yaml(read_file(path), path.string());
  if (own.kind == ConfigNode::Kind::null) own.kind = ConfigNode::Kind::mapping;
  check(own.kind == ConfigNode::Kind::mapping, "{}: expected 'key: value' lines", path.string());

  ConfigNode merged;
  merged.kind = ConfigNode::Kind::mapping;
  merged.where = own.where;
  if (const ConfigNode* inherit = own.find("inherit")) {
    std::vector<const ConfigNode*> parents;
    for (const ConfigNode& item : inherit->items) parents.push_back(&item);
    if (inherit->kind != ConfigNode::Kind::sequence) parents.push_back(inherit);
    for (const ConfigNode* parent : parents) {
      check(parent->kind == ConfigNode::Kind::scalar, "{}: inherit expects a file name or a list of them",
            parent->where);
      const fs::path parent_path = path.parent_path() / parent->scalar;
      check(fs::exists(parent_path, unreadable), "{}: inherit: no such file: {}", parent->where, parent_path.string());
      merge_config(merged, load_with_ancestors(parent_path, ancestors));
    }
    std::erase_if(own.entries, [](const auto& entry) { return entry.first == "inherit"; });
  }
  merge_config(merged, own);
  ancestors.pop_back();
  return merged;
}

}  // namespace

ConfigNode::ConfigNode() = default;
ConfigNode::~ConfigNode() = default;
ConfigNode::ConfigNode(const ConfigNode&) = default;
ConfigNode::ConfigNode(ConfigNode&&) noexcept = default;
ConfigNode& ConfigNode::operator=(const ConfigNode&) = default;
ConfigNode& ConfigNode::operator=(ConfigNode&&) noexcept = default;

const ConfigNode* ConfigNode::find(std::string_view key) const {
  for (const auto& [name, value] : entries) {
    if (name == key) return &value;
  }
  return nullptr;
}

ConfigNode* ConfigNode::find(std::string_view key) {
  return const_cast<ConfigNode*>(static_cast<const ConfigNode*>(this)->find(key));
}

const ConfigNode* find_option(const ConfigNode& root, const std::string& name) {
  const ConfigNode* node = &root;
  for (const std::string& key : split(name, '.')) {
    if (node != nullptr) node = node->find(key);
  }
  return node;
}

ConfigNode parse_yaml(const std::string& text, const std::string& name) { return parse_with_where(text, name, ""); }

ConfigNode load_yaml(const fs::path& path) {
  std::vector<fs::path> ancestors;
  return load_with_ancestors(path, ancestors);
}

ConfigNode config_from_json(const Json& json, const std::string& where) {
  ConfigNode node;
  node.where = where;
  if (json.is_object()) {
    node.kind = ConfigNode::Kind::mapping;
    for (const auto& [key, value] : json.items()) node.entries.emplace_back(key, config_from_json(value, where));
  } else if (json.is_array()) {
    node.kind = ConfigNode::Kind::sequence;
    for (const Json& item : json) node.items.push_back(config_from_json(item, where));
  } else if (!json.is_null()) {
    node.kind = ConfigNode::Kind::scalar;
    node.quoted = json.is_string();
    // Not json.dump() for real numbers, which has no word for infinity.
    node.scalar = json.is_string()         ? json.get<std::string>()
                  : json.is_number_float() ? fmt::format("{}", json.get<double>())
                                           : json.dump();
  }
  return node;
}

void merge_config(ConfigNode& target, const ConfigNode& overlay) {
  const bool both_mappings = target.kind == ConfigNode::Kind::mapping && overlay.kind == ConfigNode::Kind::mapping;
  std::string replaced = target.replaced.empty() ? overlay.replaced : target.replaced;
  if (!both_mappings) {
    const bool one_mapping = target.kind == ConfigNode::Kind::mapping || overlay.kind == ConfigNode::Kind::mapping;
    if (one_mapping && target.kind != ConfigNode::Kind::null) replaced = target.where;
    target = overlay;
  }
  target.replaced = replaced;
  if (!both_mappings) return;
  for (const auto& [key, value] : overlay.entries) {
    if (ConfigNode* existing = target.find(key)) {
      merge_config(*existing, value);
    } else {
      target.entries.emplace_back(key, value);
    }
  }
}

void apply_assignment(ConfigNode& target, const std::string& assignment) {
  const std::string where = "--set " + assignment;
  const size_t equals = assignment.find('=');
  check(equals != std::string::npos && equals > 0, "{}: expected name=value", where);
  ConfigNode overlay = parse_with_where(assignment.substr(equals + 1), "", where);
  const std::vector<std::string> names = split(assignment.substr(0, equals), '.');
  for (auto name = names.rbegin(); name != names.rend(); ++name) {
    check(!name->empty(), "{}: expected name=value with names separated by single dots", where);
    ConfigNode outer;
    outer.kind = ConfigNode::Kind::mapping;
    outer.where = where;
    outer.entries.emplace_back(*name, std::move(overlay));
    overlay = std::move(outer);
  }
  merge_config(target, overlay);
}

}  // namespace incontext::base

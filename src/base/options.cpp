#include "base/options.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/text.h"

namespace incontext::base {
namespace {

std::string describe(const ConfigNode& node) {
  switch (node.kind) {
    case ConfigNode::Kind::null:
      return "nothing";
    case ConfigNode::Kind::scalar:
      return "'" + node.scalar + "'";
    case ConfigNode::Kind::sequence:
      return "a list";
    case ConfigNode::Kind::mapping:
      return "a mapping";
  }
  return "?";
}

std::string plain_number(double value) {
  return value == std::floor(value) && std::fabs(value) < 1e15 ? fmt::format("{:.0f}", value)
                                                               : fmt::format("{}", value);
}

std::string describe(const Allowed& allowed) {
  const bool below = std::isfinite(allowed.minimum);
  const bool above = std::isfinite(allowed.maximum);
  if (below && above) {
    return fmt::format(" {} {} {} {}", allowed.minimum_excluded ? "above" : "from", plain_number(allowed.minimum),
                       allowed.minimum_excluded ? "and at most" : "to", plain_number(allowed.maximum));
  }
  if (below) {
    return fmt::format(" {} {}", allowed.minimum_excluded ? "above" : "of at least", plain_number(allowed.minimum));
  }
  if (above) return fmt::format(" of at most {}", plain_number(allowed.maximum));
  return "";
}

bool is_group(const ConfigNode& node) {
  return node.kind == ConfigNode::Kind::mapping || node.kind == ConfigNode::Kind::null;
}

[[noreturn]] void wrong(const ConfigNode& node, const std::string& name, const std::string& expected) {
  fail("{}: {}: expected {}, got {}", node.where, name, expected, describe(node));
}

template <class T>
bool parse_whole(const std::string& text, T& value) {
  const char* first = text.data();
  const char* last = first + text.size();
  if (last - first > 1 && first[0] == '+' && first[1] != '-') ++first;
  const auto [end, error] = std::from_chars(first, last, value);
  return error == std::errc() && end == last && first != last;
}

template <class T>
void read_integer(const ConfigNode& node, const std::string& name, const Allowed& allowed, T& value) {
  const std::string expected = "a whole number" + describe(allowed);
  if (node.kind != ConfigNode::Kind::scalar || node.quoted) wrong(node, name, expected);
  T parsed{};
  if (!parse_whole(node.scalar, parsed)) {
    // "1e5" is a whole number too, as people write step counts.
    double real = 0;
    if (!parse_whole(node.scalar, real) || real != std::floor(real) || std::fabs(real) > 9e15 ||
        (std::is_unsigned_v<T> && real < 0)) {
      wrong(node, name, expected);
    }
    parsed = static_cast<T>(real);
  }
  const auto real = static_cast<double>(parsed);
  if (real < allowed.minimum || real > allowed.maximum || (allowed.minimum_excluded && real == allowed.minimum)) {
    wrong(node, name, expected);
  }
  value = parsed;
}

bool parse_real(const std::string& text, double& value) {
  if (text == ".inf" || text == "+.inf" || text == "-.inf") {  // as YAML writes it
    value = text[0] == '-' ? -std::numeric_limits<double>::infinity() : std::numeric_limits<double>::infinity();
    return true;
  }
  return parse_whole(text, value);
}

bool needs_quotes(const std::string& text) {
  if (text.empty() || text != trim(text) || text != printable(text)) return true;
  if (text.find_first_of(":#{}[],&*!|>'\"%@`\n") != std::string::npos || text[0] == '-' || text[0] == '?') return true;
  double number = 0;
  if (parse_real(text, number)) return true;
  for (const char* word :
       {"null", "Null", "NULL", "~", "true", "false", "True", "False", "TRUE", "FALSE", "yes", "no"}) {
    if (text == word) return true;
  }
  return false;
}

std::string yaml_scalar(const Json& json) {
  if (json.is_string()) {
    const auto text = json.get<std::string>();
    return needs_quotes(text) ? Json(text).dump() : text;  // a JSON string is a YAML double-quoted scalar
  }
  if (json.is_number_float() && !std::isfinite(json.get<double>())) {
    return std::isnan(json.get<double>()) ? ".nan" : (json.get<double>() > 0 ? ".inf" : "-.inf");
  }
  return json.is_null() ? "null" : json.dump();
}

// Lists and what is in them stay on one line.
std::string flow_yaml(const Json& json) {
  std::vector<std::string> parts;
  if (json.is_object()) {
    for (const auto& [key, value] : json.items()) parts.push_back(Json(key).dump() + ": " + flow_yaml(value));
    return fmt::format("{{{}}}", fmt::join(parts, ", "));
  }
  if (!json.is_array()) return yaml_scalar(json);
  for (const Json& item : json) parts.push_back(flow_yaml(item));
  return fmt::format("[{}]", fmt::join(parts, ", "));
}

void emit_yaml(const Json& json, int indent, std::string& out) {
  for (const auto& [key, value] : json.items()) {
    out += std::string(static_cast<size_t>(indent), ' ') + (needs_quotes(key) ? Json(key).dump() : key) + ":";
    if (value.is_object() && !value.empty()) {
      out += "\n";
      emit_yaml(value, indent + 2, out);
    } else {
      out += " " + flow_yaml(value) + "\n";
    }
  }
}

}  // namespace

namespace detail {

void read_scalar(const ConfigNode& node, const std::string& name, const Allowed&, bool& value) {
  const std::string& text = node.scalar;
  const bool yes = text == "true" || text == "True" || text == "yes" || text == "on";
  const bool no = text == "false" || text == "False" || text == "no" || text == "off";
  if (node.kind != ConfigNode::Kind::scalar || node.quoted || (!yes && !no)) wrong(node, name, "true or false");
  value = yes;
}

void read_scalar(const ConfigNode& node, const std::string& name, const Allowed& allowed, int64_t& value) {
  read_integer(node, name, allowed, value);
}

void read_scalar(const ConfigNode& node, const std::string& name, const Allowed& allowed, uint64_t& value) {
  read_integer(node, name, allowed, value);
}

void read_scalar(const ConfigNode& node, const std::string& name, const Allowed& allowed, double& value) {
  const std::string expected = "a number" + describe(allowed);
  double parsed = 0;
  if (node.kind != ConfigNode::Kind::scalar || node.quoted || !parse_real(node.scalar, parsed) ||
      !(parsed >= allowed.minimum && parsed <= allowed.maximum) ||
      (allowed.minimum_excluded && parsed == allowed.minimum)) {
    wrong(node, name, expected);
  }
  value = parsed;
}

void read_scalar(const ConfigNode& node, const std::string& name, const Allowed& allowed, std::string& value) {
  if (node.kind != ConfigNode::Kind::scalar) {
    wrong(node, name, allowed.choices.empty() ? "text" : "one of " + enumerate_names(allowed.choices));
  }
  if (!allowed.choices.empty() &&
      std::find(allowed.choices.begin(), allowed.choices.end(), node.scalar) == allowed.choices.end()) {
    const std::string near = nearest_name(node.scalar, allowed.choices);
    fail("{}: {}: expected one of {}, got '{}'{}", node.where, name, enumerate_names(allowed.choices), node.scalar,
         near.empty() ? "" : fmt::format("; did you mean '{}'?", near));
  }
  value = node.scalar;
}

void check_group(const ConfigNode& node, const std::string& prefix) {
  if (is_group(node)) return;
  const std::string name = prefix.empty() ? "options" : prefix.substr(0, prefix.size() - 1);
  wrong(node, name, "'key: value' entries");
}

void check_known_keys(const ConfigNode& node, const std::string& prefix, const std::vector<std::string>& known) {
  for (const auto& [key, value] : node.entries) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    const std::string near = nearest_name(key, known);
    fail("{}: unknown key '{}{}'; {}", value.where, prefix, key,
         near.empty() ? "known here: " + enumerate_names(known) : fmt::format("did you mean '{}{}'?", prefix, near));
  }
}

namespace {

// The mapping at "a.b.", made where there is none yet; `where` stands for it then.
ConfigNode& group_at(ConfigNode& root, const std::string& name, const std::string& prefix, const std::string& where) {
  ConfigNode* group = &root;
  std::string so_far = prefix;
  for (const std::string& key : split(name, '.')) {
    if (key.empty()) break;
    ConfigNode* inner = group->find(key);
    if (inner == nullptr) {
      inner = &group->entries.emplace_back(key, ConfigNode()).second;
      inner->where = where;
    }
    so_far += key + ".";
    check_group(*inner, so_far);
    inner->kind = ConfigNode::Kind::mapping;
    group = inner;
  }
  return *group;
}

}  // namespace

ConfigNode with_new_names(const ConfigNode& node, std::span<const OldName> names, const std::string& prefix) {
  ConfigNode result = node;
  const auto both = [&](const OldName& name, const std::string& old_place, const std::string& new_place) {
    fail("{}: {}{} is an old name of {}{}, which {} gives too: expected one of them", old_place, prefix, name.old_name,
         prefix, name.new_name, new_place);
  };
  for (const OldName& name : names) {
    const std::string old_name = name.old_name, new_name = name.new_name;
    const ConfigNode* found = result.find(old_name);
    if (found == nullptr) continue;
    if (new_name.starts_with(old_name + ".")) {  // a group has the old name now
      const bool new_one = is_group(*found);
      if (!found->replaced.empty()) {
        both(name, new_one ? found->replaced : found->where, new_one ? found->where : found->replaced);
      }
      if (new_one) continue;
    }
    ConfigNode moved = *found;
    std::erase_if(result.entries, [&](const auto& entry) { return entry.first == old_name; });
    const size_t dot = new_name.rfind('.') + 1;  // 0 where there is none
    ConfigNode& group = group_at(result, new_name.substr(0, dot), prefix, moved.where);
    const std::string key = new_name.substr(dot);
    if (const ConfigNode* there = group.find(key)) both(name, moved.where, there->where);
    group.entries.emplace_back(key, std::move(moved));
  }
  return result;
}

void OptionHelp::add(const char* name, const Json& value, const char* help, const Allowed& allowed) {
  std::string limits = describe(allowed);
  if (!allowed.choices.empty()) limits = fmt::format(" one of {}", enumerate_names(allowed.choices));
  text_ += fmt::format("  {:<42} {} (default {}{}{})\n", prefix_ + name, help, value.dump(), limits.empty() ? "" : ";",
                       limits);
}

}  // namespace detail

std::string json_to_yaml(const Json& json) {
  std::string out;
  emit_yaml(json, 0, out);
  return out;
}

}  // namespace incontext::base

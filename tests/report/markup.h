#pragma once

#include <cctype>
#include <set>
#include <string>
#include <vector>

namespace incontext::testing {

/// Reads HTML or SVG and returns "" when every element that is opened is closed in order, attributes are quoted, ids
/// are unique and every reference "#id" has its id; else the first fault. Knows as much of HTML as our pages use.
inline std::string markup_fault(const std::string& text) {
  const std::set<std::string> never_closed = {"meta", "br", "hr", "img", "link"};
  std::vector<std::string> open;
  std::set<std::string> ids, references;
  for (size_t at = text.find('<'); at != std::string::npos; at = text.find('<', at)) {
    if (text.compare(at, 2, "<!") == 0) {
      at = text.find('>', at);
      continue;
    }
    const bool closing = text.compare(at, 2, "</") == 0;
    size_t cursor = at + (closing ? 2 : 1);
    const size_t name_end = text.find_first_of(" \t\n/>", cursor);
    if (name_end == std::string::npos || name_end == cursor) return "a bare '<' at " + text.substr(at, 40);
    const std::string name = text.substr(cursor, name_end - cursor);
    std::string attribute;
    for (cursor = name_end; cursor < text.size() && text[cursor] != '>'; ++cursor) {
      const char c = text[cursor];
      if (c == '<') return "'<' within the tag " + text.substr(at, 40);
      if (c == '"' || c == '\'') {
        const size_t end = text.find(c, cursor + 1);
        if (end == std::string::npos) return "a quote without end in " + text.substr(at, 40);
        const std::string value = text.substr(cursor + 1, end - cursor - 1);
        if (attribute == "id" && !ids.insert(value).second) return "id '" + value + "' twice";
        if (attribute.ends_with("href") && value.starts_with("#")) references.insert(value.substr(1));
        attribute.clear();
        cursor = end;
      } else if (std::isalpha(static_cast<unsigned char>(c)) != 0 || c == ':' || c == '-') {
        if (std::isspace(static_cast<unsigned char>(text[cursor - 1])) != 0) attribute.clear();  // the next one's name
        attribute += c;
      }
    }
    if (cursor >= text.size()) return "a tag without end: " + text.substr(at, 40);
    if (closing) {
      if (open.empty() || open.back() != name)
        return "</" + name + "> closes <" + (open.empty() ? "" : open.back()) + ">";
      open.pop_back();
    } else if (text[cursor - 1] != '/' && never_closed.count(name) == 0) {
      open.push_back(name);
    }
    at = cursor;
    if (!closing && (name == "style" || name == "script")) at = text.find("</" + name, cursor);
  }
  for (const std::string& reference : references) {
    if (ids.count(reference) == 0) return "no id '" + reference + "'";
  }
  return open.empty() ? "" : "<" + open.back() + "> is not closed";
}

}  // namespace incontext::testing

#pragma once

#include <algorithm>
#include <list>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/text.h"

namespace incontext::base {

/// A table of named rows: what a name in a configuration, a flag or a file can stand for. The rows of this program are
/// listed where the table is made; a program that links it adds its own with add(), before it opens or trains anything.
/// `Row` has a member `name`.
template <class Row>
class Registry {
 public:
  /// `what` names the kind of row in errors, for example "mixer".
  Registry(std::string what, std::vector<Row> rows) : what_(std::move(what)) {
    for (Row& row : rows) add(std::move(row));
  }

  /// An Error where the name is taken. Rows stay where they are: pointers to them stay valid.
  void add(Row row) {
    check(find(row.name) == nullptr, "{} '{}' is registered already", what_, row.name);
    rows_.push_back(std::move(row));
  }

  /// Null where there is none of this name.
  const Row* find(const std::string& name) const {
    const auto found = std::find_if(rows_.begin(), rows_.end(), [&](const Row& row) { return row.name == name; });
    return found == rows_.end() ? nullptr : &*found;
  }

  /// An Error that names `where`, the nearest name and all known ones.
  const Row& at(const std::string& name, const std::string& where) const {
    if (const Row* row = find(name)) return *row;
    const std::string near = nearest_name(name, names());
    fail("{}: unknown {} '{}'{}; known: {}", where, what_, printable(name),
         near.empty() ? "" : fmt::format(", did you mean '{}'?", near), fmt::join(names(), ", "));
  }

  /// In the order in which rows were added.
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const Row& row : rows_) all.push_back(row.name);
    return all;
  }

 private:
  std::string what_;
  std::list<Row> rows_;
};

}  // namespace incontext::base

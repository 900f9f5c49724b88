#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/record.h"

namespace incontext::report {

/// The mean of all records of a curve with the same x, and what is known of its spread: the lowest and highest of
/// several (seeds, say), or the interval of a single one. Without either, low and high equal y.
struct Point {
  double x = 0;
  double y = 0;
  double low = 0;
  double high = 0;
  int64_t count = 0;

  bool operator==(const Point&) const = default;
};

struct Curve {
  std::string name = {};
  std::vector<std::string> keys = {};  // values of the settings it was chosen by, in the query's order
  std::vector<Point> points = {};      // by rising x
  bool has_band() const;
};

/// Which records make which curves.
struct Query {
  std::string what;                          // Record::what
  base::Json filter = base::Json::object();  // settings that must have these values
  std::string x;                             // setting on the horizontal axis; records without it are left out
  std::vector<std::string> curve_by = {};    // one curve per distinct values of these; an absent setting counts as ""
};

/// A setting as text: "" when absent, strings without quotes.
std::string setting_text(const base::Record& record, const std::string& key);

/// A name with its underscores as spaces, for people.
std::string spaced(std::string name);

/// Leaves, of records with the same `what` and settings, only the last. Order is kept.
std::vector<base::Record> last_of_each(const std::vector<base::Record>& records);

/// Leaves, of records that differ in the numeric setting `key` alone, only that with the highest.
std::vector<base::Record> highest_of_each(const std::vector<base::Record>& records, const std::string& key);

/// Curves in the order in which their first records stand. A curve's name is made of those keys in which the curves
/// differ, or of the first when they differ in none.
std::vector<Curve> collect(const std::vector<base::Record>& records, const Query& query);

/// At most `limit` points, each the mean of as many neighbours as needed.
Curve thin(const Curve& curve, size_t limit);

}  // namespace incontext::report

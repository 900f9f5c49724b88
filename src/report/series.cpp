#include "report/series.h"

#include <algorithm>
#include <limits>
#include <map>
#include <set>

#include "base/error.h"

namespace incontext::report {
namespace {

using base::Json;
using base::Record;

// What makes two records be of the same thing; the order of settings does not matter.
std::string identity(const Record& record, const std::string& without = "") {
  std::map<std::string, std::string> sorted;
  for (const auto& [key, value] : record.setting.items()) {
    if (key != without) sorted[key] = value.dump();
  }
  return Json({record.what, sorted}).dump();
}

double number_setting(const Record& record, const std::string& key) {
  const Json& value = record.setting.at(key);
  base::check(value.is_number(), "report: setting '{}' of a '{}' record: expected a number, got {}", key, record.what,
              value.dump());
  return value.get<double>();
}

bool matches(const Record& record, const Query& query) {
  if (record.what != query.what || !record.setting.contains(query.x)) return false;
  return std::all_of(query.filter.items().begin(), query.filter.items().end(), [&](const auto& item) {
    return record.setting.contains(item.key()) && record.setting.at(item.key()) == item.value();
  });
}

Point point_of(double x, const std::vector<const Record*>& records) {
  Point point{.x = x, .count = static_cast<int64_t>(records.size())};
  for (const Record* record : records) point.y += record->value / static_cast<double>(records.size());
  point.low = point.high = point.y;
  if (records.size() == 1 && records[0]->has_interval) {
    point.low = records[0]->low;
    point.high = records[0]->high;
  }
  for (const Record* record : records) {
    if (records.size() == 1) break;
    point.low = std::min(point.low, record->value);
    point.high = std::max(point.high, record->value);
  }
  return point;
}

void name_curves(std::vector<Curve>& curves, const std::vector<std::string>& curve_by) {
  std::vector<size_t> telling;
  for (size_t key = 0; key < curve_by.size(); ++key) {
    std::set<std::string> values;
    for (const Curve& curve : curves) values.insert(curve.keys[key]);
    if (values.size() > 1) telling.push_back(key);
  }
  if (telling.empty() && !curve_by.empty()) telling.push_back(0);
  for (Curve& curve : curves) {
    for (const size_t key : telling) {
      if (curve.keys[key].empty()) continue;
      const bool number = curve.keys[key].find_first_not_of("0123456789.") == std::string::npos;
      if (!curve.name.empty()) curve.name += ", ";
      curve.name += number ? curve_by[key] + " " + curve.keys[key] : curve.keys[key];
    }
  }
}

}  // namespace

bool Curve::has_band() const {
  return std::any_of(points.begin(), points.end(), [](const Point& point) { return point.low < point.high; });
}

std::string setting_text(const Record& record, const std::string& key) {
  if (!record.setting.contains(key)) return "";
  const Json& value = record.setting.at(key);
  return value.is_string() ? value.get<std::string>() : value.dump();
}

std::string spaced(std::string name) {
  std::replace(name.begin(), name.end(), '_', ' ');
  return name;
}

std::vector<Record> last_of_each(const std::vector<Record>& records) {
  std::map<std::string, size_t> last;
  for (size_t i = 0; i < records.size(); ++i) last[identity(records[i])] = i;
  std::vector<Record> kept;
  for (size_t i = 0; i < records.size(); ++i) {
    if (last[identity(records[i])] == i) kept.push_back(records[i]);
  }
  return kept;
}

std::vector<Record> highest_of_each(const std::vector<Record>& records, const std::string& key) {
  const auto rank = [&](const Record& record) {
    return record.setting.contains(key) ? number_setting(record, key) : -std::numeric_limits<double>::infinity();
  };
  std::map<std::string, size_t> best;
  for (size_t i = 0; i < records.size(); ++i) {
    const auto [at, fresh] = best.try_emplace(identity(records[i], key), i);
    if (!fresh && rank(records[i]) >= rank(records[at->second])) at->second = i;
  }
  std::vector<Record> kept;
  for (size_t i = 0; i < records.size(); ++i) {
    if (best[identity(records[i], key)] == i) kept.push_back(records[i]);
  }
  return kept;
}

std::vector<Curve> collect(const std::vector<Record>& records, const Query& query) {
  std::vector<Curve> curves;
  std::vector<std::map<double, std::vector<const Record*>>> by_x;
  std::map<std::vector<std::string>, size_t> index;
  for (const Record& record : records) {
    if (!matches(record, query)) continue;
    std::vector<std::string> keys;
    for (const std::string& key : query.curve_by) keys.push_back(setting_text(record, key));
    const auto [at, fresh] = index.try_emplace(keys, curves.size());
    if (fresh) {
      curves.push_back({.keys = keys});
      by_x.emplace_back();
    }
    by_x[at->second][number_setting(record, query.x)].push_back(&record);
  }
  for (size_t i = 0; i < curves.size(); ++i) {
    for (const auto& [x, at_x] : by_x[i]) curves[i].points.push_back(point_of(x, at_x));
  }
  name_curves(curves, query.curve_by);
  return curves;
}

Curve thin(const Curve& curve, size_t limit) {
  INCONTEXT_ASSERT(limit > 0);
  const size_t group = (curve.points.size() + limit - 1) / limit;
  if (group <= 1) return curve;
  Curve thinned{.name = curve.name, .keys = curve.keys};
  for (size_t start = 0; start < curve.points.size(); start += group) {
    const size_t end = std::min(start + group, curve.points.size());
    const double share = 1.0 / static_cast<double>(end - start);
    Point mean;
    for (size_t i = start; i < end; ++i) {
      const Point& point = curve.points[i];
      mean.x += share * point.x;
      mean.y += share * point.y;
      mean.low += share * point.low;
      mean.high += share * point.high;
      mean.count += point.count;
    }
    thinned.points.push_back(mean);
  }
  return thinned;
}

}  // namespace incontext::report

#include "report/summary.h"

#include <algorithm>
#include <set>

#include "base/csv.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "report/cache_tables.h"
#include "report/series.h"
#include "report/table_parts.h"

namespace incontext::report {
namespace {

namespace fs = std::filesystem;
using base::Record;

const std::vector<std::string> kErrorKeys = {"run", "task", "prompt", "dims", "predictor", "loops"};

std::string value_at(const Curve& curve, double x) {
  for (const Point& point : curve.points) {
    if (point.x == x) return value_with_range(point);
  }
  return "-";
}

std::string unit_of(const std::vector<Record>& records, const std::string& what) {
  for (const Record& record : records) {
    if (record.what == what && !record.unit.empty()) return record.unit;
  }
  return "";
}

bool is_speed(const Record& record) {
  return record.what == "steps_per_second" || record.what == "peer_steps_per_second" || record.what == "ratio";
}

// Of a cache policy (eval/cache/results.h).
bool is_of_cache(const Record& record) { return record.setting.contains("cache"); }

// What `incontext eval` measures of a language model, as against what training writes down on the way.
bool is_of_text(const Record& record) {
  return record.has_interval && (record.what == "held_out_loss" || record.what == "perplexity" ||
                                 record.what == "bits_per_byte" || record.what == "token_loss");
}

// A row of the table of errors.
struct ErrorCurve {
  Curve curve;
  std::vector<std::string> runs;  // that it was measured beside

  // Of kErrorKeys.
  const std::string& run() const { return curve.keys[0]; }
  std::vector<std::string> prompts() const { return {curve.keys[1], curve.keys[2], curve.keys[3]}; }
  bool is_model() const { return curve.keys[4] == "model"; }

  // Whether this is a method, and `other` the same numbers beside another run.
  bool is_shared_with(const ErrorCurve& other) const {
    return !is_model() && run() != other.run() &&
           std::equal(curve.keys.begin() + 1, curve.keys.end(), other.curve.keys.begin() + 1) &&
           curve.points == other.curve.points;
  }
};

// By prompts in order of appearance; for each the models, then the methods, each once.
std::vector<ErrorCurve> error_curves(const std::vector<Record>& merged) {
  std::vector<ErrorCurve> curves;
  std::vector<std::vector<std::string>> places;
  for (Curve& found : collect(merged, {.what = "squared_error", .x = "examples", .curve_by = kErrorKeys})) {
    ErrorCurve curve{.curve = std::move(found), .runs = {}};
    curve.runs = {curve.run()};
    const auto known = std::find_if(curves.begin(), curves.end(),
                                    [&](const ErrorCurve& other) { return curve.is_shared_with(other); });
    if (known != curves.end()) {
      known->runs.push_back(curve.run());
      continue;
    }
    if (std::find(places.begin(), places.end(), curve.prompts()) == places.end()) places.push_back(curve.prompts());
    curves.push_back(std::move(curve));
  }
  const auto order = [&](const ErrorCurve& curve) {
    return std::pair(std::find(places.begin(), places.end(), curve.prompts()), !curve.is_model());
  };
  std::stable_sort(curves.begin(), curves.end(),
                   [&](const ErrorCurve& a, const ErrorCurve& b) { return order(a) < order(b); });
  return curves;
}

// What stands for the runs of one row: their names, or that they are all that there are for these prompts.
std::string runs_text(const ErrorCurve& row, const std::vector<ErrorCurve>& all) {
  std::set<std::string> present;
  for (const ErrorCurve& other : all) {
    if (other.prompts() == row.prompts()) present.insert(other.runs.begin(), other.runs.end());
  }
  if (row.runs.size() > 1 && row.runs.size() == present.size()) return "all runs";
  return fmt::format("{}", fmt::join(row.runs, ", "));
}

void require_records(const std::vector<RunRecords>& runs) {
  base::check(!runs.empty(), "report: expected at least one run");
  for (const RunRecords& run : runs) {
    base::check(!run.records.empty(), "report: run '{}' holds no records; expected lines in its records.jsonl",
                run.name);
  }
}

}  // namespace

RunRecords read_run(const fs::path& directory) {
  std::error_code unreadable;
  base::check(fs::is_directory(directory, unreadable), "report: {}: expected a run directory", directory.string());
  base::check(fs::exists(directory / "records.jsonl", unreadable),
              "report: {}: expected a file records.jsonl, which training and evaluation write", directory.string());
  RunRecords run;
  const fs::path clean = fs::absolute(directory).lexically_normal();
  run.name = clean.has_filename() ? clean.filename().string() : clean.parent_path().filename().string();
  run.records = base::read_records(directory / "records.jsonl");
  if (fs::exists(directory / "evaluation.jsonl", unreadable)) {  // kept apart, so that resuming does not cut it
    const std::vector<Record> measured = base::read_records(directory / "evaluation.jsonl");
    run.records.insert(run.records.end(), measured.begin(), measured.end());
  }
  if (fs::exists(directory / "config.yaml", unreadable)) run.config_yaml = base::read_file(directory / "config.yaml");
  return run;
}

std::vector<Record> merge_runs(const std::vector<RunRecords>& runs) {
  require_records(runs);
  std::vector<Record> all;
  for (const RunRecords& run : runs) {
    for (Record record : run.records) {
      if (!record.setting.contains("run")) record.setting["run"] = run.name;
      all.push_back(std::move(record));
    }
  }
  std::vector<Record> errors, others;
  for (Record& record : last_of_each(all)) {
    (record.what.starts_with("squared_error") ? errors : others).push_back(std::move(record));
  }
  std::vector<Record> merged = highest_of_each(errors, "step");
  merged.insert(merged.end(), others.begin(), others.end());
  return merged;
}

Table error_table(const std::vector<Record>& merged) {
  Table table;
  table.title = "Squared error";
  const std::string unit = unit_of(merged, "squared_error");
  if (!unit.empty()) table.title += ", " + unit;
  table.columns = {"run", "task", "prompt", "dims", "predictor", "loops", "d examples", "2d examples", "last", "at"};
  table.alignment.assign(table.columns.size(), Align::right);
  for (const size_t text_column : {0U, 1U, 2U, 4U}) table.alignment[text_column] = Align::left;
  const std::vector<ErrorCurve> curves = error_curves(merged);
  for (const ErrorCurve& item : curves) {
    const Curve& curve = item.curve;
    std::vector<std::string> row = curve.keys;
    row[0] = runs_text(item, curves);
    row[4] = spaced(row[4]);
    const double dims = row[3].empty() ? 0 : std::atof(row[3].c_str());
    for (const double multiple : {1.0, 2.0}) row.push_back(dims > 0 ? value_at(curve, multiple * dims) : "-");
    row.push_back(value_with_range(curve.points.back()));
    row.push_back(fmt::format("{}", curve.points.back().x));
    table.rows.push_back(std::move(row));
  }
  lift_constant_columns(table, {"task", "prompt", "dims", "loops", "at"});
  return table;
}

Table text_table(const std::vector<Record>& merged) {
  Table table;
  table.title = "Held-out text";
  table.columns = {"run", "step", "loss, nats per token", "perplexity", "bits per byte"};
  table.alignment = {Align::left, Align::right, Align::right, Align::right, Align::right};
  for (const Record& loss : merged) {
    if (loss.what != "held_out_loss" || !is_of_text(loss)) continue;
    std::vector<std::string> row = {setting_text(loss, "run"), setting_text(loss, "step")};
    for (const char* what : {"held_out_loss", "perplexity", "bits_per_byte"}) {
      const auto same = [&](const Record& record) { return record.what == what && record.setting == loss.setting; };
      const auto found = std::find_if(merged.begin(), merged.end(), same);
      if (found == merged.end()) {
        row.emplace_back("-");
        continue;
      }
      row.push_back(value_with_range({.y = found->value, .low = found->low, .high = found->high, .count = 1}));
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

Table speed_table(const std::vector<Record>& merged) {
  Table table;
  table.title = "Training speed";
  table.columns = {"run", "model", "quantity", "value", "unit"};
  table.alignment = {Align::left, Align::left, Align::left, Align::right, Align::left};
  for (const Record& record : merged) {
    if (!is_speed(record)) continue;
    const Point point{.y = record.value, .low = record.low, .high = record.high, .count = 1};
    table.rows.push_back({setting_text(record, "run"), setting_text(record, "model"), spaced(record.what),
                          value_with_range(point), record.unit});
  }
  return table;
}

Table training_table(const std::vector<Record>& merged) {
  Table table;
  table.title = "Training";
  table.columns = {"run", "last step", "final training loss"};
  table.alignment = {Align::left, Align::right, Align::right};
  for (const Curve& curve : collect(merged, {.what = "training_loss", .x = "step", .curve_by = {"run"}})) {
    const Point& last = curve.points.back();
    table.rows.push_back({curve.keys[0], fmt::format("{}", last.x), format_number(last.y)});
  }
  return table;
}

std::vector<Table> summary_tables(const std::vector<RunRecords>& runs) {
  const std::vector<Record> merged = merge_runs(runs);
  std::vector<Table> tables;
  for (Table& table : std::vector<Table>{error_table(merged), text_table(merged), training_table(merged),
                                         speed_table(merged), divergence_table(merged), cache_cost_table(merged),
                                         continuation_table(merged), retrieval_table(merged)}) {
    if (!table.rows.empty()) tables.push_back(std::move(table));
  }
  std::vector<std::string> names;
  names.reserve(runs.size());
  for (const RunRecords& run : runs) names.push_back(run.name);
  base::check(!tables.empty(), "report: expected records of errors, losses, speeds or caches in {}, got none",
              base::enumerate_names(names));
  return tables;
}

std::string terminal_summary(const std::vector<RunRecords>& runs, size_t width) {
  std::string out;
  for (const Table& table : summary_tables(runs)) out += (out.empty() ? "" : "\n") + to_terminal(table, width);
  return out;
}

std::string markdown_summary(const std::vector<RunRecords>& runs) {
  std::string out;
  for (const Table& table : summary_tables(runs)) out += (out.empty() ? "" : "\n") + to_markdown(table);
  return out;
}

std::string csv_summary(const std::vector<RunRecords>& runs) {
  const std::vector<Record> merged = merge_runs(runs);
  Table table;
  table.columns = {"what",  "run",      "task",  "prompt", "dims", "predictor",
                   "loops", "examples", "value", "low",    "high", "records"};
  std::vector<std::string> keys = kErrorKeys;
  const auto add = [&](const std::string& what, const std::string& x, size_t x_column) {
    for (const Curve& curve : collect(merged, {.what = what, .x = x, .curve_by = keys})) {
      for (const Point& point : curve.points) {
        std::vector<std::string> row = {what};
        row.insert(row.end(), curve.keys.begin(), curve.keys.end());
        row.resize(8);
        row[x_column] = fmt::format("{}", point.x);
        for (const double value : {point.y, point.low, point.high}) row.push_back(fmt::format("{}", value));
        row.push_back(fmt::format("{}", point.count));
        table.rows.push_back(std::move(row));
      }
    }
  };
  add("squared_error", "examples", 7);
  keys.back() = "examples";  // for errors by loop the two change places
  const size_t first = table.rows.size();
  add("squared_error_by_loop", "loops", 7);
  for (size_t row = first; row < table.rows.size(); ++row) std::swap(table.rows[row][6], table.rows[row][7]);
  for (const Record& record : merged) {
    if (!is_speed(record) && !is_of_text(record) && !is_of_cache(record)) continue;
    std::vector<std::string> row(table.columns.size());
    row[0] = record.what;
    row[1] = setting_text(record, "run");
    row[2] = setting_text(record, "task");
    row[5] = setting_text(record, is_speed(record) ? "model" : "predictor");
    row[7] = setting_text(record, "position");
    if (is_of_cache(record)) {
      row[3] = setting_text(record, "question");
      row[5] = setting_text(record, "cache");
      row[7] = setting_text(record, "context");
      for (const char* place : {"position", "depth"}) {
        if (record.setting.contains(place)) row[7] += fmt::format(" {} {}", place, setting_text(record, place));
      }
    }
    row[8] = fmt::format("{}", record.value);
    if (record.has_interval) {
      row[9] = fmt::format("{}", record.low);
      row[10] = fmt::format("{}", record.high);
    }
    row[11] = "1";
    table.rows.push_back(std::move(row));
  }
  base::check(!table.rows.empty(), "report: expected records of errors, losses, speeds or caches, got none");
  return to_csv(table);
}

}  // namespace incontext::report

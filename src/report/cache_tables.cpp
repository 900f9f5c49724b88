#include "report/cache_tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "report/series.h"
#include "report/table_parts.h"

namespace incontext::report {
namespace {

using base::Record;

// The settings that make a row of what was measured on texts.
const std::vector<std::string> kRowKeys = {"run", "model", "cache", "context", "documents", "scored", "text_digest"};

bool same_row(const Record& a, const Record& b) {
  return std::all_of(kRowKeys.begin(), kRowKeys.end(),
                     [&](const std::string& key) { return setting_text(a, key) == setting_text(b, key); });
}

std::string cell_of(const std::vector<Record>& merged, const char* what, const Record& row, double factor = 1) {
  for (const Record& record : merged) {
    if (record.what != what || !same_row(record, row)) continue;
    Record scaled = record;
    for (double* value : {&scaled.value, &scaled.low, &scaled.high}) *value *= factor;
    return value_with_range(scaled);
  }
  return "-";
}

struct Column {
  const char* title;
  const char* what;  // of the record
  double factor = 1;
};

Table table_of(const std::vector<Record>& merged, const std::string& title, const char* row_what,
               const std::vector<Column>& columns) {
  Table table{.title = title, .columns = {"model", "context", "cache"}};
  table.alignment = {Align::left, Align::right, Align::left};
  for (const Column& column : columns) {
    table.columns.emplace_back(column.title);
    table.alignment.push_back(Align::right);
  }
  for (const Record& record : merged) {
    if (record.what != row_what || !record.setting.contains("cache")) continue;
    std::vector<std::string> row = {setting_text(record, "model"), setting_text(record, "context"),
                                    setting_text(record, "cache")};
    for (const Column& column : columns) row.push_back(cell_of(merged, column.what, record, column.factor));
    table.rows.push_back(std::move(row));
  }
  lift_constant_columns(table, {"model", "context"});
  return table;
}

// A plot for each model and context (and what else `keys` names), with these curves.
std::vector<Plot> plots_of(const std::vector<Record>& merged, const std::string& what,
                           const std::vector<std::string>& keys, const std::string& x, const std::string& curve_by) {
  std::map<std::vector<std::string>, std::vector<Record>> groups;
  std::vector<std::vector<std::string>> order;
  for (const Record& record : merged) {
    if (record.what != what || !record.setting.contains("cache")) continue;
    std::vector<std::string> values;
    for (const std::string& key : keys) values.push_back(setting_text(record, key));
    if (groups.count(values) == 0) order.push_back(values);
    groups[values].push_back(record);
  }
  std::vector<Plot> plots;
  for (const std::vector<std::string>& values : order) {
    Plot plot{.title = fmt::format("{}, context {}", values[0], values[1])};
    for (size_t i = 2; i < values.size(); ++i) plot.title += ", " + keys[i] + " " + values[i];
    for (Curve& curve : collect(groups[values], {.what = what, .x = x, .curve_by = {curve_by}})) {
      plot.curves.push_back({.curve = std::move(curve), .reference = false});
      plot.curves.back().reference = plot.curves.back().curve.keys[0] == "full";
    }
    plots.push_back(std::move(plot));
  }
  return plots;
}

}  // namespace

Table divergence_table(const std::vector<Record>& merged) {
  return table_of(merged, "Divergence from the full cache, nats", "kl_mean",
                  {{"bytes/token", "bytes_per_token"},
                   {"% of full", "share_of_full", 100},
                   {"KL mean", "kl_mean"},
                   {"median", "kl_median"},
                   {"99.9 %", "kl_p999"},
                   {"% same top", "same_top", 100},
                   {"perplexity", "perplexity"}});
}

Table cache_cost_table(const std::vector<Record>& merged) {
  return table_of(merged, "What caches cost", "kl_mean",
                  {{"fixed MiB", "fixed_bytes", 1 / 0x1p20},
                   {"s to read the prompt", "read_seconds"},
                   {"s to compress it", "compress_seconds"},
                   {"tokens/s", "decode_tokens_per_second"},
                   {"times the full cache's", "decode_ratio_to_full"}});
}

Table continuation_table(const std::vector<Record>& merged) {
  return table_of(
      merged, "Greedy continuations, tokens that are the full cache's", "common_prefix",
      {{"common prefix", "common_prefix"}, {"% of continuations that are the same", "identical_continuations", 100}});
}

Table retrieval_table(const std::vector<Record>& merged) {
  Table table{.title = "Retrieval, % of answers", .columns = {"model", "context", "cache"}};
  table.alignment = {Align::left, Align::right, Align::left};
  std::vector<std::vector<std::string>> keys;  // of rows
  for (const Record& record : merged) {
    if (record.what != "retrieval_accuracy") continue;
    const std::vector<std::string> key = {setting_text(record, "model"), setting_text(record, "context"),
                                          setting_text(record, "cache")};
    const std::string column = spaced(setting_text(record, "task")) + ", " +
                               (setting_text(record, "question") == "known" ? "known" : "unknown");
    auto row = std::find(keys.begin(), keys.end(), key) - keys.begin();
    if (row == static_cast<std::ptrdiff_t>(keys.size())) {
      keys.push_back(key);
      table.rows.push_back(key);
    }
    auto at = std::find(table.columns.begin(), table.columns.end(), column) - table.columns.begin();
    if (at == static_cast<std::ptrdiff_t>(table.columns.size())) {
      table.columns.push_back(column);
      table.alignment.push_back(Align::right);
    }
    for (auto& cells : table.rows) cells.resize(table.columns.size(), "-");
    table.rows[static_cast<size_t>(row)][static_cast<size_t>(at)] = format_number(100 * record.value);
  }
  lift_constant_columns(table, {"model", "context"});
  return table;
}

std::vector<Section> cache_sections(const std::vector<Record>& merged) {
  Section bytes{.heading = "Divergence against bytes"};
  bytes.paragraphs = {
      "Each point is a cache policy: the bytes that it holds per token of the prompt, once the prompt is compressed, "
      "and "
      "the mean Kullback-Leibler divergence of what the model then predicts from what it predicts with the full cache "
      "(f16), over the same tokens in lock-step. Policies of one kind are joined. Bands are 95 % intervals over "
      "documents. A policy that changes nothing has no place on the logarithmic axis; the tables have it."};
  bytes.plots = plots_of(merged, "kl_mean", {"model", "context"}, "bytes_per_token", "kind");
  for (Plot& plot : bytes.plots) {
    plot.x.label = "bytes per token";
    plot.y = {.label = "KL divergence, nats", .logarithmic = true};
  }
  Section positions{.heading = "Divergence against position"};
  positions.paragraphs = {
      "The same divergence by how many tokens after the prompt a prediction is made. Positions are taken in groups "
      "that "
      "double in size; a point stands at the last of its group."};
  positions.plots = plots_of(merged, "kl_mean_by_position", {"model", "context"}, "position", "cache");
  for (Plot& plot : positions.plots) {
    plot.x = {.label = "tokens after the prompt", .logarithmic = true};
    plot.y = {.label = "KL divergence, nats", .logarithmic = true};
  }
  Section retrieval{.heading = "Retrieval against depth"};
  retrieval.paragraphs = {
      "The share of right answers by where in the context the asked fact stands (0: at its beginning), in the mean "
      "over "
      "the tasks. The question is known when the context is compressed, or comes after it."};
  retrieval.plots = plots_of(merged, "retrieval_accuracy_by_depth", {"model", "context", "question"}, "depth", "cache");
  for (Plot& plot : retrieval.plots) {
    plot.x = {.label = "depth of the fact", .maximum = 1};
    plot.y = {.label = "share of right answers", .maximum = 1.05};
    for (PlotCurve& item : plot.curves) {  // a band from the hardest task to the easiest would tell nothing
      for (Point& point : item.curve.points) point.low = point.high = point.y;
    }
  }
  std::vector<Section> sections;
  for (Section* section : {&bytes, &positions, &retrieval}) {
    std::erase_if(section->plots, [](const Plot& plot) { return !drawable(plot); });
    if (!section->plots.empty()) sections.push_back(std::move(*section));
  }
  return sections;
}

}  // namespace incontext::report

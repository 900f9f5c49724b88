#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "report/cache_tables.h"
#include "report/page.h"
#include "report/series.h"
#include "report/summary.h"

namespace incontext::report {
namespace {

using base::ConfigNode;
using base::Record;

constexpr size_t kMostTrainingPoints = 400;

bool is_model(const Record& record) { return setting_text(record, "predictor") == "model"; }

// The records of one kind, in groups that agree in `keys`, in order of appearance.
std::vector<std::vector<Record>> groups_of(const std::vector<Record>& records, const std::string& what,
                                           const std::vector<std::string>& keys) {
  std::vector<std::vector<Record>> groups;
  std::map<std::vector<std::string>, size_t> index;
  for (const Record& record : records) {
    if (record.what != what) continue;
    std::vector<std::string> values;
    values.reserve(keys.size());
    for (const std::string& key : keys) values.push_back(setting_text(record, key));
    const auto [at, fresh] = index.try_emplace(values, groups.size());
    if (fresh) groups.emplace_back();
    groups[at->second].push_back(record);
  }
  return groups;
}

// Models first, one curve per run; then the reference methods, which are the same whatever model stands beside them.
std::vector<PlotCurve> error_curves(const std::vector<Record>& group, const std::string& what, const std::string& x) {
  std::vector<Record> models, references;
  std::set<std::string> seen;  // a method beside several runs on the same prompts is measured once
  for (const Record& record : group) {
    if (is_model(record)) {
      models.push_back(record);
      continue;
    }
    base::Json measured = {record.setting, record.value, record.low, record.high};
    measured[0].erase("run");
    if (seen.insert(measured.dump()).second) references.push_back(record);
  }
  std::vector<std::string> model_keys = {"run"};
  if (x != "loops") model_keys.push_back("loops");
  std::vector<PlotCurve> curves;
  for (Curve& curve : collect(models, {.what = what, .x = x, .curve_by = model_keys})) {
    curves.push_back({.curve = std::move(curve)});
  }
  for (Curve& curve : collect(references, {.what = what, .x = x, .curve_by = {"predictor"}})) {
    curve.name = spaced(curve.keys[0]);
    curves.push_back({.curve = std::move(curve), .reference = true});
  }
  return curves;
}

// Reference methods that explode (least squares at as many noisy examples as dimensions) must not flatten the models.
double end_of_axis(const std::vector<PlotCurve>& curves) {
  double models = 0, all = 0;
  for (const PlotCurve& item : curves) {
    for (const Point& point : item.curve.points) {
      if (std::isfinite(point.y)) all = std::max(all, point.y);
      if (!item.reference && std::isfinite(point.high)) models = std::max(models, point.high);
    }
  }
  return models > 0 && all > 1.5 * models ? 1.5 * models : 0;
}

std::string place_of(const Record& record) {
  std::vector<std::string> parts = {spaced(setting_text(record, "task"))};
  if (parts[0].empty()) parts[0] = "all tasks";
  const std::string prompt = setting_text(record, "prompt"), dims = setting_text(record, "dims");
  if (!prompt.empty()) parts.push_back(spaced(prompt) + " prompts");
  if (!dims.empty()) parts.push_back(dims + " dimensions");
  return fmt::format("{}", fmt::join(parts, ", "));
}

std::string error_label(const Record& record) {
  return record.unit.empty() ? "squared error" : "squared error, " + record.unit;
}

Section examples_section(const std::vector<Record>& merged) {
  Section section{.heading = "Error against the number of examples"};
  section.paragraphs = {
      "The horizontal axis counts the examples in the prompt before the query; the vertical axis is the mean squared "
      "error of the prediction for the query, in the unit at the axis. Solid lines are models, dashed lines are "
      "methods that fit each prompt afresh.",
      "A band spans the lowest to the highest of several seeds, or, for a single seed, the interval stored with the "
      "record. The axis may end below a reference method's highest values; the table holds all of them."};
  for (const auto& group : groups_of(merged, "squared_error", {"task", "prompt", "dims"})) {
    Plot plot{.title = place_of(group[0])};
    plot.curves = error_curves(group, "squared_error", "examples");
    plot.x.label = "examples in the prompt";
    plot.y = {.label = error_label(group[0]), .maximum = end_of_axis(plot.curves)};
    section.plots.push_back(std::move(plot));
  }
  return section;
}

Section loops_section(const std::vector<Record>& merged) {
  Section section{.heading = "Error against the number of loops"};
  section.paragraphs = {
      "A looped model applies the same block again and again. The horizontal axis counts the applications, the "
      "vertical axis is the squared error at the stated number of examples, on a logarithmic scale. A dotted line "
      "marks "
      "the loop count of training: to its right the model runs longer than it was trained to."};
  for (const auto& group : groups_of(merged, "squared_error_by_loop", {"task", "prompt", "dims", "examples"})) {
    Plot plot{.title = fmt::format("{}, {} examples", place_of(group[0]), setting_text(group[0], "examples"))};
    plot.curves = error_curves(group, "squared_error_by_loop", "loops");
    plot.x.label = "loops";
    plot.y = {.label = error_label(group[0]), .logarithmic = true};
    std::set<double> trained;
    for (const Record& record : group) {
      if (record.setting.contains("trained_loops") && record.setting.at("trained_loops").is_number()) {
        trained.insert(record.setting.at("trained_loops").get<double>());
      }
    }
    for (const double loops : trained) plot.markers.push_back({loops, fmt::format("trained: {}", loops)});
    section.plots.push_back(std::move(plot));
  }
  return section;
}

Section positions_section(const std::vector<Record>& merged) {
  Section section{.heading = "Loss against the position in the text"};
  section.paragraphs = {
      "The mean loss of held-out tokens by their position in a sequence, that is, by how much text the model has seen "
      "before them. Positions are taken in groups that double in size; a point stands at the last of its group."};
  Plot plot{.title = "held-out text"};
  for (Curve& curve : collect(merged, {.what = "token_loss", .x = "position", .curve_by = {"run"}})) {
    plot.curves.push_back({.curve = std::move(curve)});
  }
  if (plot.curves.empty()) return section;
  plot.x = {.label = "position", .logarithmic = true};
  plot.y.label = "nats per token";
  section.plots.push_back(std::move(plot));
  return section;
}

Section training_section(const std::vector<Record>& merged) {
  Section section{.heading = "Training"};
  section.paragraphs = {fmt::format(
      "Values during training, by optimizer step. Where a curve has more than {} points, each one drawn is the mean of "
      "neighbours. During a curriculum the task itself becomes harder, so the loss may rise.",
      kMostTrainingPoints)};
  for (const char* what : {"training_loss", "held_out_loss", "gradient_norm", "learning_rate"}) {
    Plot plot{.title = spaced(what)};
    for (const Curve& curve : collect(merged, {.what = what, .x = "step", .curve_by = {"run"}})) {
      plot.curves.push_back({.curve = thin(curve, kMostTrainingPoints)});
    }
    if (plot.curves.empty()) continue;
    plot.x.label = "step";
    plot.y = {.label = spaced(what), .logarithmic = std::string_view(what) == "gradient_norm"};
    section.plots.push_back(std::move(plot));
  }
  return section;
}

std::string flat_text(const ConfigNode& node) {
  if (node.kind != ConfigNode::Kind::sequence) return node.scalar;
  std::vector<std::string> items;
  for (const ConfigNode& item : node.items) items.push_back(flat_text(item));
  return fmt::format("[{}]", fmt::join(items, ", "));
}

using Options = std::vector<std::pair<std::string, std::string>>;

void flatten(const ConfigNode& node, const std::string& prefix, Options& out) {
  for (const auto& [key, value] : node.entries) {
    if (value.kind == ConfigNode::Kind::mapping) {
      flatten(value, prefix + key + ".", out);
    } else {
      out.emplace_back(prefix + key, flat_text(value));
    }
  }
}

Table configuration_table(const std::vector<RunRecords>& runs) {
  Table table{.title = "All options", .columns = {"option"}};
  std::map<std::string, size_t> row_of;
  for (const RunRecords& run : runs) {
    table.columns.push_back(run.name);
    for (auto& row : table.rows) row.emplace_back();
    Options options;
    flatten(base::parse_yaml(run.config_yaml, run.name + "/config.yaml"), "", options);
    for (const auto& [name, value] : options) {
      const auto [at, fresh] = row_of.try_emplace(name, table.rows.size());
      if (fresh) {
        table.rows.emplace_back(table.columns.size());
        table.rows.back()[0] = name;
      }
      table.rows[at->second].back() = value;
    }
  }
  return table;
}

Section origin_section(const std::vector<RunRecords>& runs) {
  Section section{.heading = "How this was made"};
  section.paragraphs = {"Every number above comes from a record that holds its command, version and machine."};
  Table commands{.title = "Commands and machines", .columns = {"run", "command", "version", "machine"}};
  for (const RunRecords& run : runs) {
    for (const Record& record : run.records) {
      const std::vector<std::string> row = {run.name, record.command, record.version, record.machine};
      if (std::find(commands.rows.begin(), commands.rows.end(), row) == commands.rows.end())
        commands.rows.push_back(row);
    }
  }
  section.tables.push_back(std::move(commands));
  Table all = configuration_table(runs);
  Table different{.title = "Options in which the runs differ", .columns = all.columns};
  for (const auto& row : all.rows) {
    if (std::adjacent_find(row.begin() + 1, row.end(), std::not_equal_to<>()) != row.end())
      different.rows.push_back(row);
  }
  if (!different.rows.empty()) section.tables.push_back(std::move(different));
  if (!all.rows.empty()) section.folded_tables.push_back(std::move(all));
  return section;
}

}  // namespace

void write_report(const std::vector<RunRecords>& runs, const std::filesystem::path& path) {
  const std::vector<Record> merged = merge_runs(runs);
  std::vector<std::string> names;
  names.reserve(runs.size());
  for (const RunRecords& run : runs) names.push_back(run.name);
  Page page;
  Section glance{.heading = "At a glance"};
  glance.tables = summary_tables(runs);
  const bool only_caches =
      std::all_of(merged.begin(), merged.end(), [](const Record& record) { return record.setting.contains("cache"); });
  if (only_caches) {
    page.title = "Caches: " + base::enumerate_names(names);
    page.lead = "What compressed caches of a language model cost in accuracy, bytes and time, beside the full one.";
    glance.paragraphs = {
        "Divergences are those of the next-token distribution from the full cache's, over the tokens that follow "
        "compressed prompts; lower is better, and the full cache itself has zero. In brackets: 95 % intervals over "
        "documents. Perplexity can fall while predictions go astray, and stands there as a by-product."};
  } else {
    page.title = "In-context learning: " + base::enumerate_names(names);
    page.lead =
        "How well the models learn from the examples in their prompt, beside methods that fit each prompt afresh.";
    glance.paragraphs = {
        "Squared errors are means over prompts; lower is better. The columns give the error after d examples, where d "
        "is the dimension of the inputs, after 2d, and after the longest prompt measured. In brackets: lowest to "
        "highest of several seeds, or the interval stored with a single one."};
  }
  page.sections.push_back(std::move(glance));
  for (Section section :
       {examples_section(merged), loops_section(merged), positions_section(merged), training_section(merged)}) {
    if (!section.plots.empty()) page.sections.push_back(std::move(section));
  }
  for (Section& section : cache_sections(merged)) page.sections.push_back(std::move(section));
  page.sections.push_back(origin_section(runs));
  base::write_file_atomic(path, render_page(page));
}

}  // namespace incontext::report

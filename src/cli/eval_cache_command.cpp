#include <cmath>
#include <filesystem>
#include <iostream>
#include <optional>

#include "base/file.h"
#include "base/progress.h"
#include "base/signals.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/model_folder.h"
#include "cli/shared_flags.h"
#include "eval/cache/choose.h"
#include "eval/cache/measure.h"
#include "ops/settings.h"
#include "report/summary.h"
#include "tensor/device.h"

namespace incontext::cli {
namespace {

namespace fs = std::filesystem;
using base::Json;

// What --budget or --loss asks for, if anything.
std::optional<eval::Limit> asked_limit(const EvalArguments& arguments) {
  const bool budget = !arguments.budget.empty(), loss = arguments.loss > 0;
  if (!budget && !loss) return std::nullopt;
  base::check(!(budget && loss), "eval: expected --budget or --loss, got both");
  const char* flag = budget ? "--budget" : "--loss";
  base::check(arguments.caches.policies.size() > 1, "eval: {} chooses among policies; expected --cache more than once",
              flag);
  base::check(arguments.caches.measures_any("language"),
              "eval: {} chooses by the divergence; expected --tasks with language", flag);
  if (budget) return eval::Limit{.share = eval::parse_share(arguments.budget), .loss = {}};
  return eval::Limit{.share = {}, .loss = arguments.loss};
}

Json chosen_json(const std::vector<eval::LanguageRow>& rows, const eval::Limit& limit) {
  const eval::LanguageRow* chosen = eval::choose_policy(rows, limit);
  Json json = {{"cache", nullptr}, {limit.share ? "budget" : "loss", limit.share ? *limit.share : *limit.loss}};
  if (chosen == nullptr) return json;
  json["cache"] = chosen->cache;
  json["context"] = chosen->context;
  json["share_of_full"] = chosen->share_of_full;
  json["kl_mean"] = chosen->summary.kl_mean;
  json["kl_mean_interval"] = {chosen->kl.low, chosen->kl.high};
  return json;
}

std::string chosen_text(const Json& chosen) {
  const bool budget = chosen.contains("budget");
  const std::string limit = budget
                                ? fmt::format("{:g} % of the full cache's bytes", 100 * chosen["budget"].get<double>())
                                : fmt::format("a divergence of {:g} nats", chosen["loss"].get<double>());
  if (chosen["cache"].is_null()) return fmt::format("No policy that was measured keeps to {}.\n", limit);
  return fmt::format("Within {} at context {}: {} ({:.1f} % of the bytes, divergence {:.4g} nats)\n", limit,
                     chosen["context"].get<int64_t>(), chosen["cache"].get<std::string>(),
                     100 * chosen["share_of_full"].get<double>(), chosen["kl_mean"].get<double>());
}

eval::CacheResults measure_model(const std::string& model, const EvalArguments& arguments,
                                 const base::StopRequest& stop, std::vector<base::Record>& records,
                                 std::optional<base::RecordWriter>& writer, const std::string& command) {
  const decode::OpenedModel opened = decode::open_model(find_model_folder(model), arguments.compute.operations());
  constexpr int64_t kTicks = 1000;
  std::unique_ptr<base::Progress> progress;
  if (!arguments.quiet) progress = std::make_unique<base::Progress>("caches", kTicks, "");
  eval::CacheEvaluationEvents events;
  events.begin = [&] {
    if (writer) return;
    base::make_directories(arguments.out);
    writer.emplace(fs::path(arguments.out) / "records.jsonl", command);
  };
  events.write = [&](const base::Record& record) {
    records.push_back(record);
    writer->write(record);
  };
  events.progress = [&](const std::string& what, double done) {
    if (progress) progress->update(static_cast<int64_t>(std::lround(done * kTicks)), what);
  };
  events.stop_requested = [&] { return stop.requested(); };
  eval::CacheResults results = eval::measure_caches(opened, arguments.caches, events);
  if (progress) progress->finish();
  writer->sync();
  return results;
}

}  // namespace

void run_eval_caches(const EvalArguments& arguments, Invocation& invocation) {
  base::check(arguments.assignments.empty() && arguments.config.empty() && arguments.task.empty() &&
                  arguments.task_assignments.empty(),
              "eval: --set, --config, --task and --set-task are of trained runs; they have no meaning with --cache");
  const std::optional<eval::Limit> limit = asked_limit(arguments);
  arguments.compute.start_on_cpu("eval --cache");
  const fs::path out = arguments.out;
  const base::StopRequest stop("stopping after this step; what is finished was recorded");
  std::optional<base::RecordWriter> writer;
  std::vector<base::Record> records;
  Json rows = Json::array(), chosen = Json::array();
  std::string choices;
  for (const std::string& model : arguments.directories) {
    const eval::CacheResults results = measure_model(model, arguments, stop, records, writer, invocation.command_line);
    for (Json& row : eval::results_json(results)) {
      row["model"] = results.model;
      rows.push_back(std::move(row));
    }
    if (results.interrupted) break;
    if (!limit) continue;
    chosen.push_back(chosen_json(results.language, *limit));
    chosen.back()["model"] = results.model;
    choices += chosen_text(chosen.back());
  }
  if (stop.requested()) invocation.exit_status = stop.exit_status();
  const fs::path page = out / "report.html";
  if (!records.empty()) report::write_report({report::read_run(out)}, page);
  if (arguments.json) {
    Json json = {{"results", rows}, {"records", (out / "records.jsonl").string()}, {"report", page.string()}};
    if (limit && !chosen.empty()) json["chosen"] = chosen.size() == 1 ? chosen[0] : chosen;
    if (stop.requested()) json["interrupted"] = true;
    std::cout << json.dump() << "\n";
  } else if (!records.empty()) {
    std::cout << report::terminal_summary({{.name = out.string(), .config_yaml = {}, .records = records}}) << "\n"
              << choices << "Page: " << page.string() << "\n";
  }
}

}  // namespace incontext::cli

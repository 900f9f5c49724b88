#include <cmath>
#include <filesystem>
#include <iostream>

#include "base/file.h"
#include "base/progress.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/shared_flags.h"
#include "eval/measurements.h"
#include "models/runs.h"
#include "ops/settings.h"
#include "report/summary.h"
#include "tensor/device.h"

namespace incontext::cli {
namespace {

namespace fs = std::filesystem;

// Another function class or other task options than in training, such as --task sparse_linear_regression.
void change_task(const EvalArguments& arguments, tasks::TaskOptions& task) {
  base::ConfigNode node;
  node.kind = base::ConfigNode::Kind::mapping;
  node.where = "--task";
  if (!arguments.task.empty()) base::apply_assignment(node, "name=" + arguments.task);
  for (const std::string& assignment : arguments.task_assignments) base::apply_assignment(node, assignment);
  const tasks::TaskOptions trained = task;
  base::read_options(node, task);
  base::check(task.default_objective() == trained.default_objective(),
              "--task: a model of text cannot be measured on functions, nor the "
              "other way round");
  base::check(task.dims == trained.dims, "--set-task: the model was trained for dims {}, not {}", trained.dims,
              task.dims);
}

std::vector<base::Record> evaluate_one(const std::string& directory, const EvalArguments& arguments,
                                       const eval::EvaluationOptions& options, torch::Device device,
                                       const std::string& command) {
  models::RunFolder run = models::find_run(directory);
  base::check(run.run.has_value(),
              "{}: not a run directory: config.yaml is missing (of a language model, --cache POLICY measures caches)",
              directory);
  change_task(arguments, run.run->task);
  models::Decoder decoder = models::open_decoder(run.checkpoint, device);
  decoder.operations() = arguments.compute.operations();
  if (run.run->precision == models::TrainingPrecision::bf16) decoder.operations().precision = kernels::Precision::bf16;
  const std::string name = fs::absolute(run.directory / "").lexically_normal().parent_path().filename().string();
  std::unique_ptr<base::Progress> progress;
  constexpr int64_t kTicks = 1000;
  if (!arguments.quiet) progress = std::make_unique<base::Progress>(name, kTicks, "");
  std::string stage;
  std::vector<base::Record> records;
  const eval::Subject subject{.run = name, .decoder = &decoder, .trained = *run.run, .step = run.step};
  const auto keep = [&](base::Record record) { records.push_back(std::move(record)); };
  const auto show = [&](const std::string& what, double done) {
    if (!progress) return;
    if (what != stage) {
      stage = what;
      progress->start_from(0);
    }
    progress->update(static_cast<int64_t>(std::lround(done * kTicks)), what);
  };
  const auto tell = [&](const std::string& note) {
    if (!arguments.quiet) std::cerr << "note: " << base::printable(note) << "\n";
  };
  eval::measure(subject, options, {.write = keep, .progress = show, .note = tell});
  if (progress) progress->finish();
  base::RecordWriter writer(run.directory / "evaluation.jsonl", command);
  for (const base::Record& record : records) writer.write(record);
  writer.sync();
  return records;
}

base::Json as_json(const std::vector<base::Record>& records) {
  base::Json list = base::Json::array();
  for (const base::Record& record : records) list.push_back(base::record_to_json(record));
  return list;
}

}  // namespace

void run_eval(const EvalArguments& arguments, Invocation& invocation) {
  base::check(!arguments.directories.empty(), "eval: expected a run directory (incontext eval --help)");
  if (!arguments.caches.policies.empty()) return run_eval_caches(arguments, invocation);
  base::check(arguments.caches.texts.empty() && arguments.budget.empty() && arguments.loss == 0,
              "eval: --text, --budget and --loss are of language models' caches; expected --cache POLICY with them");
  eval::EvaluationOptions options;
  read_config(arguments.config, arguments.assignments, options);
  const tensor::Runtime runtime = arguments.compute.start();
  std::vector<base::Record> records;
  std::vector<report::RunRecords> runs;
  for (const std::string& directory : arguments.directories) {
    std::vector<base::Record> measured =
        evaluate_one(directory, arguments, options, runtime.device, invocation.command_line);
    records.insert(records.end(), measured.begin(), measured.end());
    runs.push_back({.name = fs::path(directory).lexically_normal().string(), .records = std::move(measured)});
  }
  if (arguments.json) {
    std::cout << base::Json{{"records", as_json(records)}}.dump() << "\n";
  } else {
    std::cout << report::terminal_summary(runs);
  }
}

}  // namespace incontext::cli

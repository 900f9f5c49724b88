#include <cmath>
#include <filesystem>
#include <iostream>

#include "base/file.h"
#include "base/progress.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/shared_flags.h"
#include "eval/evaluate.h"
#include "eval/text_losses.h"
#include "models/checkpoint.h"
#include "models/language_folder.h"
#include "ops/settings.h"
#include "report/summary.h"
#include "tensor/device.h"
#include "train/checkpoint.h"
#include "train/run.h"

namespace incontext::cli {
namespace {

namespace fs = std::filesystem;

struct OpenedRun {
  fs::path directory;  // where evaluation.jsonl goes
  fs::path checkpoint;
  train::RunOptions options;
};

// A run directory, or one checkpoint of it.
OpenedRun open_run(const fs::path& directory) {
  base::check(fs::is_directory(directory), "{}: no such directory", directory.string());
  if (fs::exists(directory / "trainer_state.safetensors")) {
    const fs::path run = fs::absolute(directory).lexically_normal().parent_path();
    return {directory, directory, train::read_run_options(run)};
  }
  const train::RunOptions options = train::read_run_options(directory);
  const auto checkpoint = train::latest_checkpoint(directory);
  base::check(checkpoint.has_value(), "{}: no checkpoint yet", directory.string());
  return {directory, *checkpoint, options};
}

// The step is the checkpoint's number.
int64_t step_of(const fs::path& checkpoint) {
  const std::string name = fs::absolute(checkpoint).lexically_normal().filename().string();
  const size_t dash = name.rfind('-');
  return dash == std::string::npos ? 0 : std::atoll(name.c_str() + dash + 1);
}

// Another function class or other task options than in training, such as --task sparse_linear_regression.
void change_task(const EvalArguments& arguments, train::RunOptions& options) {
  base::ConfigNode node;
  node.kind = base::ConfigNode::Kind::mapping;
  node.where = "--task";
  if (!arguments.task.empty()) base::apply_assignment(node, "name=" + arguments.task);
  for (const std::string& assignment : arguments.task_assignments) base::apply_assignment(node, assignment);
  const int64_t dims = options.task.dims;
  const bool was_text = options.task.is_text();
  base::read_options(node, options.task);
  base::check(was_text == options.task.is_text(),
              "--task: a model of text cannot be measured on functions, nor the "
              "other way round");
  base::check(options.task.dims == dims, "--set-task: the model was trained for dims {}, not {}", dims,
              options.task.dims);
}

models::Decoder open_decoder(const OpenedRun& run, torch::Device device) {
  if (!run.options.task.is_text()) return models::load_model(run.checkpoint, device);
  models::Decoder decoder(run.options.model, /*input_dims=*/0, /*seed=*/0, device);
  models::load_language_parameters(decoder, run.checkpoint);
  return decoder;
}

std::vector<base::Record> evaluate_one(const std::string& directory, const EvalArguments& arguments,
                                       const eval::EvaluationOptions& options, torch::Device device,
                                       const std::string& command) {
  OpenedRun run = open_run(directory);
  change_task(arguments, run.options);
  const bool is_text = run.options.task.is_text();
  models::Decoder decoder = open_decoder(run, device);
  decoder.operations() = arguments.compute.operations();
  if (run.options.training.precision == "bf16") decoder.operations().precision = kernels::Precision::bf16;
  base::check(is_text || decoder.input_dims() == run.options.task.dims,
              "{}: the model takes {} dimensions, the task has {}", run.checkpoint.string(), decoder.input_dims(),
              run.options.task.dims);
  const std::string name = fs::absolute(run.directory / "").lexically_normal().parent_path().filename().string();
  std::unique_ptr<base::Progress> progress;
  constexpr int64_t kTicks = 1000;
  if (!arguments.quiet) progress = std::make_unique<base::Progress>(name, kTicks, "");
  std::string stage;
  std::vector<base::Record> records;
  const eval::Subject subject{
      .run = name, .decoder = &decoder, .options = run.options, .step = step_of(run.checkpoint)};
  const auto keep = [&](base::Record record) { records.push_back(std::move(record)); };
  const auto show = [&](const std::string& what, double done) {
    if (!progress) return;
    if (what != stage) {
      stage = what;
      progress->start_from(0);
    }
    progress->update(static_cast<int64_t>(std::lround(done * kTicks)), what);
  };
  if (is_text) {
    const tasks::PackedText text(run.options.task.text, &tensor::kernel_pool());
    for (const std::string& note : text.notes()) {
      if (!arguments.quiet) std::cerr << "note: " << base::printable(note) << "\n";
    }
    eval::evaluate_text(subject, text, options, keep, show);
  } else {
    eval::evaluate(subject, options, keep, show);
  }
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

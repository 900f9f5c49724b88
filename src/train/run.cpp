#include "train/run.h"

#include <chrono>
#include <iostream>
#include <map>
#include <optional>

#include "base/directory_lock.h"
#include "base/file.h"
#include "base/progress.h"
#include "base/signals.h"
#include "base/text.h"
#include "models/runs.h"
#include "train/checkpoint.h"
#include "train/run_log.h"

namespace incontext::train {
namespace {

namespace fs = std::filesystem;
using base::Json;

// A start that failed before its first record leaves its options behind; they are in nobody's way.
bool holds_anything(const fs::path& directory) {
  if (!fs::exists(directory)) return false;
  if (!fs::is_directory(directory)) return true;
  return std::any_of(fs::directory_iterator(directory), fs::directory_iterator(),
                     [](const fs::directory_entry& entry) { return entry.path().filename() != "config.yaml"; });
}

// What may differ between a run and its continuation: how long, and what is written down on the way.
constexpr const char* kFreeToChange[] = {
    "steps", "log_every", "evaluate_every", "evaluate_prompts", "checkpoint_every", "keep_checkpoints", "logs"};

void check_same(const Json& before, const Json& now, const std::string& prefix, const fs::path& config) {
  for (const auto& [key, value] : now.items()) {
    const bool free = prefix == "training." &&
                      std::find(std::begin(kFreeToChange), std::end(kFreeToChange), key) != std::end(kFreeToChange);
    if (free || (before.contains(key) && before[key] == value)) continue;
    if (value.is_object() && before.contains(key)) {
      check_same(before[key], value, prefix + key + ".", config);
      continue;
    }
    base::fail("{}: the run was begun with {}{} = {}, now it is {}; a resumed run keeps its options", config.string(),
               prefix, key, before.contains(key) ? before[key].dump() : "nothing", value.dump());
  }
}

void prepare_directory(const RunOptions& options, const RunPlace& place) {
  const fs::path config = place.directory / "config.yaml";
  if (place.resume && fs::exists(config)) {
    RunOptions before = read_run_options(place.directory);
    before.resolve();  // it may be from a version with fewer options
    check_same(base::options_to_json(before), base::options_to_json(options), "", config);
  } else {
    base::check(!holds_anything(place.directory),
                "{}: exists already; choose another --out, or continue an interrupted run with --resume",
                place.directory.string());
  }
  base::make_directories(place.directory);
  base::write_file_atomic(config, base::json_to_yaml(base::options_to_json(options)));
}

class Run {
 public:
  Run(const RunOptions& options, const RunPlace& place, torch::Device device, const ops::Settings& operations)
      : place_(place), trainer_(options, device, operations), name_(run_name(place.directory)) {
    uint64_t keep_bytes = 0;
    if (const auto checkpoint = models::latest_checkpoint(place.directory)) {
      keep_bytes = load_checkpoint(trainer_, *checkpoint);
      result_.checkpoint = *checkpoint;
    } else {
      load_initial_weights(trainer_);
    }
    result_.first_step = trainer_.steps_done();
    log_.emplace(place.directory, place.command, options.training.logs, keep_bytes);
  }

  RunResult go() {
    const TrainingOptions& training = trainer_.options().training;
    base::StopRequest stop("stopping after this step", "stopped at once; the last checkpoint stands");
    std::optional<base::Progress> progress;
    if (!place_.quiet) {
      for (const std::string& note : trainer_.objective().notes()) {
        std::cerr << "note: " << base::printable(note) << "\n";
      }
      progress.emplace(name_, training.steps, "steps");
      progress->start_from(trainer_.steps_done());
    }
    const auto start = std::chrono::steady_clock::now();
    std::string evaluation;
    while (trainer_.steps_done() < training.steps && !stop.requested()) {
      const StepStats stats = step();
      const bool last = stats.step == training.steps;
      if (stats.step % training.log_every == 0 || last) write_stats(stats);
      if ((training.evaluate_every > 0 && stats.step % training.evaluate_every == 0) || last) {
        evaluation = trainer_.objective().evaluate([&](base::Record record) { write(std::move(record)); });
      }
      if (stats.step % training.checkpoint_every == 0 || last) checkpoint();
      if (progress) progress->update(stats.step, fmt::format("loss {:.4f}  {}", shown_loss_, evaluation));
    }
    if (progress) progress->finish();
    if (result_.checkpoint.empty() || stop.requested()) checkpoint();
    result_.steps_done = trainer_.steps_done();
    result_.last_loss = shown_loss_;
    result_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    result_.stopped = result_.steps_done < training.steps;
    result_.exit_status = result_.stopped ? stop.exit_status() : 0;
    return result_;
  }

 private:
  static std::string run_name(const fs::path& directory) {
    const fs::path absolute = fs::absolute(directory).lexically_normal();
    return absolute.has_filename() ? absolute.filename().string() : absolute.parent_path().filename().string();
  }

  StepStats step() {
    try {
      const StepStats stats = trainer_.step();
      loss_sum_ += stats.loss;
      for (const LossValue& loss : stats.losses) loss_sums_[loss.name] += loss.value;
      ++loss_count_;
      if (loss_count_ == 1 && shown_loss_ == 0) shown_loss_ = stats.loss;
      return stats;
    } catch (const Diverged& diverged) {
      if (result_.checkpoint.empty()) checkpoint();
      throw Diverged(fmt::format("{}; the last good checkpoint is {}", diverged.what(), result_.checkpoint.string()));
    }
  }

  void write(base::Record record) {
    Json setting = {{"run", name_}, {"seed", trainer_.options().seed}, {"step", trainer_.steps_done()}};
    for (const auto& [key, value] : record.setting.items()) setting[key] = value;
    record.setting = std::move(setting);
    log_->write(record);
  }

  void write_stats(const StepStats& stats) {
    shown_loss_ = loss_sum_ / static_cast<double>(loss_count_);
    Json setting = Json::object();
    if (stats.stage.points > 0) setting = {{"points", stats.stage.points}, {"active_dims", stats.stage.dims}};
    if (stats.stage.loops > 0) setting["loop_budget"] = stats.stage.loops;
    const auto record = [&](const std::string& what, double value) {
      base::Record entry;
      entry.what = what;
      entry.value = value;
      entry.setting = setting;
      write(std::move(entry));
    };
    record("training_loss", shown_loss_);
    // A single loss is the training loss.
    if (loss_sums_.size() > 1) {
      for (const LossValue& loss : stats.losses) {
        record("loss_" + loss.name, loss_sums_.at(loss.name) / static_cast<double>(loss_count_));
      }
    }
    record("gradient_norm", stats.gradient_norm);
    record("learning_rate", stats.learning_rate);
    loss_sum_ = 0;
    loss_sums_.clear();
    loss_count_ = 0;
  }

  void checkpoint() {
    log_->sync();
    result_.checkpoint = save_checkpoint(trainer_, place_.directory, log_->records_bytes());
    models::prune_checkpoints(place_.directory, trainer_.options().training.keep_checkpoints);
  }

  RunPlace place_;
  Trainer trainer_;
  std::string name_;
  std::optional<RunLog> log_;
  RunResult result_;
  double loss_sum_ = 0;
  std::map<std::string, double> loss_sums_;  // of each of the objective's
  int64_t loss_count_ = 0;
  double shown_loss_ = 0;
};

}  // namespace

RunOptions read_run_options(const fs::path& run) {
  RunOptions options;
  base::read_options(models::read_run_config(run), options);
  return options;
}

RunResult run_training(const RunOptions& options, const RunPlace& place, torch::Device device,
                       const ops::Settings& operations) {
  RunOptions resolved = options;
  resolved.resolve();
  prepare_directory(resolved, place);
  const base::DirectoryLock lock(place.directory);
  Run run(resolved, place, device, operations);
  return run.go();
}

}  // namespace incontext::train

#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/record.h"
#include "report/table.h"

namespace incontext::report {

/// What a run directory holds: records.jsonl of training, evaluation.jsonl of `incontext eval`, and config.yaml.
struct RunRecords {
  std::string name = {};
  std::string config_yaml = {};  // "" when there is none
  std::vector<base::Record> records = {};
};

/// Reads a run directory; its name is the directory's. A directory without records.jsonl is an Error.
RunRecords read_run(const std::filesystem::path& directory);

/// All records with a setting "run" (the run's name where they had none), of equal ones the last, and of errors those
/// of the latest step. No run at all, or a run without records, is an Error.
std::vector<base::Record> merge_runs(const std::vector<RunRecords>& runs);

/// Per run and predictor the squared error at d and 2d examples (d: the setting "dims") and at the last number of
/// examples, for each kind of prompts the models first. A method that was measured beside several runs on the same
/// prompts stands there once. Settings that are the same in all rows stand in the title.
Table error_table(const std::vector<base::Record>& merged);

/// Per run of a language model the loss, perplexity and bits per byte of held-out text.
Table text_table(const std::vector<base::Record>& merged);

/// Speeds and their ratios per run and model.
Table speed_table(const std::vector<base::Record>& merged);

/// Final values of the training curves per run.
Table training_table(const std::vector<base::Record>& merged);

/// Those of the tables above that have rows. None is an Error.
std::vector<Table> summary_tables(const std::vector<RunRecords>& runs);

std::string terminal_summary(const std::vector<RunRecords>& runs, size_t width = 100);
std::string markdown_summary(const std::vector<RunRecords>& runs);

/// One line per measured point, for other programs: what, run, task, prompt, predictor, dims, loops, examples,
/// value, low, high, records.
std::string csv_summary(const std::vector<RunRecords>& runs);

/// Writes the standard report, one HTML file: tables, errors against the number of examples and of loops, training
/// curves, configuration, commands and machines.
void write_report(const std::vector<RunRecords>& runs, const std::filesystem::path& path);

}  // namespace incontext::report

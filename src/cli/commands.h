#pragma once

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

namespace incontext::cli {

/// What every command gets from main().
struct Invocation {
  std::string command_line;  // as typed, for records
  int exit_status = 0;       // set by the command that ran
};

// One per verb: declares the subcommand, and what runs when it is chosen.
void add_train_command(CLI::App& app, Invocation& invocation);
void add_eval_command(CLI::App& app, Invocation& invocation);
void add_report_command(CLI::App& app, Invocation& invocation);
void add_generate_command(CLI::App& app, Invocation& invocation);
void add_chat_command(CLI::App& app, Invocation& invocation);
void add_serve_command(CLI::App& app, Invocation& invocation);
void add_tokenize_command(CLI::App& app, Invocation& invocation);
void add_bench_command(CLI::App& app, Invocation& invocation);
/// Below "bench".
void add_bench_decode_command(CLI::App& bench);

}  // namespace incontext::cli

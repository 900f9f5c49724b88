#pragma once

#include <CLI/CLI.hpp>

#include <functional>
#include <string>

#include "cli/arguments.h"

namespace incontext::cli {

// There are two programs, so that what needs no tensors starts without libtorch and the hundreds of libraries below it.
// `incontext` knows all commands and their flags, and runs tokenize, report and whatever prints help. Once the flags of
// another command are parsed, it becomes `incontext-compute`: the same commands and flags, and all of what runs them.

/// What every command gets from main().
struct Invocation {
  std::string command_line;  // as typed, for records
  int exit_status = 0;       // set by the command that ran
};

/// Runs a command with its flags.
template <class Arguments>
using Run = std::function<void(const Arguments&, Invocation&)>;

/// What runs each command that computes.
struct ComputingCommands {
  Run<TrainArguments> train;
  Run<EvalArguments> eval;
  Run<GenerateArguments> generate;
  Run<ChatArguments> chat;
  Run<ServeArguments> serve;
  Run<CalibrateLexicoArguments> calibrate_lexico;
  Run<BenchTrainArguments> bench_train;
  Run<BenchDecodeArguments> bench_decode;
};

/// The whole of main(): parses the command line, runs the command, tells errors in one line.
int run_program(int argc, char** argv, const ComputingCommands& computing);

// One per verb: declares the subcommand, and what runs when it is chosen.
void add_train_command(CLI::App& app, Invocation& invocation, const Run<TrainArguments>& run);
void add_eval_command(CLI::App& app, Invocation& invocation, const Run<EvalArguments>& run);
void add_report_command(CLI::App& app);
void add_generate_command(CLI::App& app, Invocation& invocation, const Run<GenerateArguments>& run);
void add_chat_command(CLI::App& app, Invocation& invocation, const Run<ChatArguments>& run);
void add_serve_command(CLI::App& app, Invocation& invocation, const Run<ServeArguments>& run);
void add_tokenize_command(CLI::App& app);
void add_calibrate_command(CLI::App& app, Invocation& invocation, const Run<CalibrateLexicoArguments>& run_lexico);
void add_bench_command(CLI::App& app, Invocation& invocation, const Run<BenchTrainArguments>& run_train,
                       const Run<BenchDecodeArguments>& run_decode);

// In incontext-compute alone.
void run_train(const TrainArguments& arguments, Invocation& invocation);
void run_eval(const EvalArguments& arguments, Invocation& invocation);
void run_eval_caches(const EvalArguments& arguments, Invocation& invocation);  // of run_eval
void run_generate(const GenerateArguments& arguments, Invocation& invocation);
void run_chat(const ChatArguments& arguments, Invocation& invocation);
void run_serve(const ServeArguments& arguments, Invocation& invocation);
void run_calibrate_lexico(const CalibrateLexicoArguments& arguments, Invocation& invocation);
void run_bench_train(const BenchTrainArguments& arguments, Invocation& invocation);
void run_bench_decode(const BenchDecodeArguments& arguments, Invocation& invocation);

}  // namespace incontext::cli

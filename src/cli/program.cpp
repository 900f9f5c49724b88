#include <CLI/CLI.hpp>

#include <csignal>
#include <exception>
#include <iostream>
#include <new>
#include <string>

#include "base/error.h"
#include "base/machine.h"
#include "cli/commands.h"

namespace incontext::cli {
namespace {

// The first line of a message: libtorch appends stack traces to its own.
std::string first_line(const char* text) {
  const std::string message(text);
  return message.substr(0, message.find('\n'));
}

std::string quote(const std::string& argument) {
  if (!argument.empty() && argument.find_first_of(" \t\n'\"\\$*?[]{}()<>|&;#~`") == std::string::npos) return argument;
  std::string quoted = "'";
  for (const char c : argument) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

int run(int argc, char** argv, const ComputingCommands& computing) {
  CLI::App app{"Train, evaluate and report models that learn in context; run language models."};
  app.set_version_flag("--version", base::version());
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);
  app.footer(
      "Example:\n  incontext train experiments/demo/transformer.yaml --out runs/transformer\n"
      "  incontext eval runs/transformer\n"
      "  incontext report runs/transformer --out report.html\n"
      "  incontext generate models/Llama-3.2-1B --prompt 'Once upon a time'");
  Invocation invocation;
  invocation.command_line = "incontext";
  for (int i = 1; i < argc; ++i) invocation.command_line += " " + quote(argv[i]);
  add_train_command(app, invocation, computing.train);
  add_eval_command(app, invocation, computing.eval);
  add_report_command(app);
  add_generate_command(app, invocation, computing.generate);
  add_chat_command(app, invocation, computing.chat);
  add_serve_command(app, invocation, computing.serve);
  add_tokenize_command(app);
  add_calibrate_command(app, invocation, computing.calibrate_lexico);
  add_bench_command(app, invocation, computing.bench_train, computing.bench_decode);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    std::cerr << "incontext: " << first_line(error.what()) << " (incontext --help tells more)\n";
    return 2;
  }
  std::cout.flush();
  if (!std::cout) throw base::Error("cannot write to standard output");
  return invocation.exit_status;
}

}  // namespace

int run_program(int argc, char** argv, const ComputingCommands& computing) {
  std::signal(SIGPIPE, SIG_IGN);  // writes then fail with a reason, as everything else that is written
  std::signal(SIGXFSZ, SIG_IGN);
  try {
    return run(argc, argv, computing);
  } catch (const std::bad_alloc&) {
    std::cerr << "incontext: out of memory\n";
  } catch (const std::exception& error) {
    std::cerr << "incontext: " << first_line(error.what()) << "\n";
  }
  return 1;
}

}  // namespace incontext::cli

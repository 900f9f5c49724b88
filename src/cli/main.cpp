// incontext: all commands, without libtorch.

#include "base/error.h"
#include "base/process.h"
#include "cli/commands.h"

int main(int argc, char** argv) {
  namespace cli = incontext::cli;
  namespace base = incontext::base;
  const auto compute = [argv](const auto&, cli::Invocation&) {
    const auto program = base::find_program_part("incontext-compute");
    base::check(program.has_value(),
                "the program incontext-compute is neither beside this one nor in ../lib/incontext");
    base::become_program(*program, argv);
  };
  return cli::run_program(argc, argv, {compute, compute, compute, compute, compute, compute, compute, compute});
}

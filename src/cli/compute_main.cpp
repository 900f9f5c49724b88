// incontext-compute: what `incontext` becomes to run a command with tensors.

#include "cli/commands.h"

int main(int argc, char** argv) {
  namespace cli = incontext::cli;
  return cli::run_program(argc, argv,
                          {.train = cli::run_train,
                           .eval = cli::run_eval,
                           .generate = cli::run_generate,
                           .chat = cli::run_chat,
                           .serve = cli::run_serve,
                           .calibrate_lexico = cli::run_calibrate_lexico,
                           .bench_train = cli::run_bench_train,
                           .bench_decode = cli::run_bench_decode});
}

#include <iostream>
#include <memory>

#include "base/options.h"
#include "cli/commands.h"
#include "cli/shared_flags.h"
#include "ops/settings.h"
#include "tensor/device.h"
#include "train/run.h"

namespace incontext::cli {
namespace {

void print_result(const TrainArguments& arguments, const train::RunResult& result) {
  if (arguments.json) {
    const base::Json json = {{"directory", arguments.out}, {"checkpoint", result.checkpoint.string()},
                             {"steps", result.steps_done}, {"resumed_from", result.first_step},
                             {"loss", result.last_loss},   {"seconds", result.seconds},
                             {"stopped", result.stopped}};
    std::cout << json.dump() << "\n";
    return;
  }
  std::cout << fmt::format("{}: {} steps, loss {:.5g}; {}\n", arguments.out, result.steps_done, result.last_loss,
                           result.checkpoint.string());
  if (result.stopped) {
    std::cout << fmt::format("Stopped early. Go on with: incontext train {} --out {} --resume\n", arguments.config,
                             arguments.out);
  }
}

}  // namespace

void run_train(const TrainArguments& arguments, Invocation& invocation) {
  base::check(!arguments.config.empty(), "train: expected a CONFIG file (incontext train --help)");
  base::check(!arguments.out.empty(), "train: expected --out DIR (incontext train --help)");
  train::RunOptions options;
  read_config(arguments.config, arguments.assignments, options);
  const tensor::Runtime runtime = arguments.compute.start();
  const train::RunPlace place{.directory = arguments.out,
                              .resume = arguments.resume,
                              .command = invocation.command_line,
                              .quiet = arguments.quiet};
  const train::RunResult result = train::run_training(options, place, runtime.device, arguments.compute.operations());
  print_result(arguments, result);
  invocation.exit_status = result.exit_status;
}

}  // namespace incontext::cli

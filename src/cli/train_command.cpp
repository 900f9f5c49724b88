#include <iostream>
#include <memory>

#include "base/options.h"
#include "cli/commands.h"
#include "cli/shared_flags.h"
#include "train/run.h"

namespace incontext::cli {
namespace {

struct TrainArguments {
  std::string config;
  std::string out;
  std::vector<std::string> assignments;
  bool resume = false;
  bool json = false;
  bool quiet = false;
  bool list_options = false;
  ComputeFlags compute;
};

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

void run_train(const TrainArguments& arguments, Invocation& invocation) {
  if (arguments.list_options) {
    const auto defaults = std::make_unique<train::RunOptions>();  // on the heap: GCC 12 sees it uninitialised elsewhere
    std::cout << base::options_help(*defaults);
    return;
  }
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

}  // namespace

void add_train_command(CLI::App& app, Invocation& invocation) {
  auto arguments = std::make_shared<TrainArguments>();
  CLI::App* command = app.add_subcommand("train", "Train a model from a YAML configuration");
  command->add_option("config", arguments->config, "YAML file; its keys are listed by --list-options")
      ->type_name("CONFIG");
  command->add_option("--out", arguments->out, "run directory to make")->type_name("DIR");
  command->add_flag("--resume", arguments->resume, "go on from the last checkpoint in --out, exactly");
  command->add_option("--set", arguments->assignments, "change one option, e.g. training.steps=500")
      ->type_name("NAME=VALUE")
      ->expected(1)
      ->take_all();
  command->add_flag("--list-options", arguments->list_options, "print every option of CONFIG, and stop");
  command->add_flag("--json", arguments->json, "print one JSON object");
  command->add_flag("--quiet", arguments->quiet, "no progress");
  arguments->compute.add_to(*command);
  command->footer("Example:\n  incontext train experiments/looped/linear_small.yaml --out runs/looped --set seed=1");
  command->callback([arguments, &invocation] { run_train(*arguments, invocation); });
}

}  // namespace incontext::cli

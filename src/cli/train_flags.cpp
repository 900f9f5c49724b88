#include <iostream>
#include <memory>

#include "base/options.h"
#include "cli/commands.h"
#include "train/options.h"

namespace incontext::cli {

void add_train_command(CLI::App& app, Invocation& invocation, const Run<TrainArguments>& run) {
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
  command->callback([arguments, &invocation, run] {
    if (arguments->list_options) {
      const auto defaults =
          std::make_unique<train::RunOptions>();  // on the heap: GCC 12 sees it uninitialised elsewhere
      std::cout << base::options_help(*defaults);
    } else {
      run(*arguments, invocation);
    }
  });
}

}  // namespace incontext::cli

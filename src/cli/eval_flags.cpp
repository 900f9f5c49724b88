#include <iostream>
#include <memory>

#include "base/options.h"
#include "cli/commands.h"
#include "eval/evaluation_options.h"

namespace incontext::cli {

void add_eval_command(CLI::App& app, Invocation& invocation, const Run<EvalArguments>& run) {
  auto arguments = std::make_shared<EvalArguments>();
  CLI::App* command =
      app.add_subcommand("eval", "Measure trained models and the classical methods on the same prompts");
  command->add_option("directories", arguments->directories, "run directories, or checkpoints in them")
      ->type_name("DIR");
  command->add_option("--task", arguments->task, "another function class than in training")->type_name("NAME");
  command->add_option("--set-task", arguments->task_assignments, "change one option of the task, e.g. noise=0.5")
      ->type_name("NAME=VALUE")
      ->expected(1)
      ->take_all();
  command->add_option("--config", arguments->config, "YAML file of evaluation options")->type_name("FILE");
  command->add_option("--set", arguments->assignments, "change one evaluation option, e.g. prompts=256")
      ->type_name("NAME=VALUE")
      ->expected(1)
      ->take_all();
  command->add_flag("--list-options", arguments->list_options, "print every evaluation option, and stop");
  command->add_flag("--json", arguments->json, "print one JSON object");
  command->add_flag("--quiet", arguments->quiet, "no progress");
  arguments->compute.add_to(*command);
  command->footer(
      "Example:\n  incontext eval runs/looped --set 'kinds=[standard, scaled_inputs]' --set 'loops=[12, 24, 120]'\n"
      "Measurements are printed and appended to DIR/evaluation.jsonl.");
  command->callback([arguments, &invocation, run] {
    if (arguments->list_options) {
      std::cout << base::options_help<eval::EvaluationOptions>();
    } else {
      run(*arguments, invocation);
    }
  });
}

}  // namespace incontext::cli

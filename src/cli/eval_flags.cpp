#include <iostream>
#include <memory>

#include "base/options.h"
#include "cli/commands.h"
#include "eval/evaluation_options.h"

namespace incontext::cli {
namespace {

void add_cache_flags(CLI::App& command, EvalArguments& arguments) {
  eval::CacheEvaluationOptions& caches = arguments.caches;
  const char* group = "Caches of language models";
  command.add_option("--cache", caches.policies, "measure this cache policy beside the full cache; may be given again")
      ->type_name("POLICY")
      ->expected(1)
      ->take_all()
      ->group(group);
  command.add_option("--text", caches.texts, "text to measure on (.txt, .md, .jsonl, each perhaps with .gz)")
      ->type_name("FILE")
      ->group(group);
  command.add_option("--context", caches.contexts, "lengths of the prompts, in tokens")
      ->delimiter(',')
      ->check(CLI::PositiveNumber)
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--tasks", caches.measures,
                  "language: divergence from the full cache; free: how long a greedy continuation stays the same; "
                  "retrieval: facts found again in a long text")
      ->delimiter(',')
      ->check(CLI::IsMember({"language", "free", "retrieval"}))
      ->capture_default_str()
      ->group(group);
  command.add_option("--documents", caches.documents, "documents of each length")
      ->check(CLI::PositiveNumber)
      ->capture_default_str()
      ->group(group);
  command.add_option("--scored", caches.scored, "tokens after each prompt whose predictions are compared")
      ->check(CLI::PositiveNumber)
      ->capture_default_str()
      ->group(group);
  command.add_option("--generated", caches.generated, "tokens of a free continuation")
      ->check(CLI::PositiveNumber)
      ->capture_default_str()
      ->group(group);
  command.add_option("--samples", caches.samples, "questions of each retrieval task and length")
      ->check(CLI::PositiveNumber)
      ->capture_default_str()
      ->group(group);
  command.add_option("--seed", caches.seed, "names the retrieval prompts")->group(group);
  command.add_option("--budget", arguments.budget, "name the best policy within this share of the full cache's bytes")
      ->type_name("PERCENT%")
      ->group(group);
  command
      .add_option("--loss", arguments.loss,
                  "name the smallest policy whose mean divergence, with 95 % confidence, is at most this (nats)")
      ->check(CLI::PositiveNumber)
      ->group(group);
  command.add_option("--out", arguments.out, "directory for records and the page")
      ->type_name("DIR")
      ->capture_default_str()
      ->group(group);
}

}  // namespace

void add_eval_command(CLI::App& app, Invocation& invocation, const Run<EvalArguments>& run) {
  auto arguments = std::make_shared<EvalArguments>();
  CLI::App* command = app.add_subcommand(
      "eval", "Measure trained models and the classical methods on the same prompts, or caches of language models");
  command
      ->add_option(
          "directories", arguments->directories,
          "run directories, or checkpoints in them; with --cache language models: folders, text runs, or org/name")
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
  arguments->compute.add_inference_precision_to(*command);
  add_cache_flags(*command, *arguments);
  command->footer(
      "Example:\n  incontext eval runs/looped --set 'kinds=[standard, scaled_inputs]' --set 'loops=[12, 24, 120]'\n"
      "Measurements are printed and appended to DIR/evaluation.jsonl.\n"
      "Example:\n  incontext eval models/Llama-3.2-1B --cache full --cache full:bf16 --text book.txt --context "
      "512,4096\n"
      "Each policy goes through the same tokens in lock-step with the full cache (f16), and is compared where the past "
      "is "
      "compressed. Measurements are printed, appended to records.jsonl in the directory of --out, and drawn in its "
      "report.html (docs/caches.md).");
  command->callback([arguments, &invocation, run] {
    if (arguments->list_options) {
      std::cout << base::options_help<eval::EvaluationOptions>();
    } else {
      run(*arguments, invocation);
    }
  });
}

}  // namespace incontext::cli

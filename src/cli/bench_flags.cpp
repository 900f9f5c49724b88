#include <memory>

#include "cli/commands.h"

namespace incontext::cli {
namespace {

void add_bench_decode_command(CLI::App& bench, Invocation& invocation, const Run<BenchDecodeArguments>& run) {
  auto arguments = std::make_shared<BenchDecodeArguments>();
  CLI::App* command = bench.add_subcommand(
      "decode", "Tokens per second of a language model, as a share of what the memory's bandwidth allows");
  command->add_option("model", arguments->model, "folder of a model, or org/name")->required()->type_name("MODEL");
  command->add_option("--depth", arguments->depths, "tokens in the cache")
      ->delimiter(',')
      ->check(CLI::NonNegativeNumber);
  command->add_option("--tokens", arguments->tokens, "tokens to time at each depth")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--prefill", arguments->prefill, "length of the prompt to time; 0: none")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command
      ->add_option("--cache", arguments->caches,
                   "cache policy; may be given again, and policies are then measured in turn")
      ->type_name("POLICY")
      ->expected(1)
      ->take_all()
      ->capture_default_str();
  command->add_flag("--json", arguments->json, "print one JSON object");
  arguments->compute.add_to(*command);
  arguments->compute.add_inference_precision_to(*command);
  command->footer(
      "Example:\n  incontext bench decode models/Llama-3.2-1B --depth 0,4096,16384 --cache full --cache full:bf16");
  command->callback([arguments, &invocation, run] { run(*arguments, invocation); });
}

}  // namespace

void add_bench_command(CLI::App& app, Invocation& invocation, const Run<BenchTrainArguments>& run_train,
                       const Run<BenchDecodeArguments>& run_decode) {
  CLI::App* bench = app.add_subcommand("bench", "Measure speed beside a peer in the same run");
  bench->require_subcommand(1);
  add_bench_decode_command(*bench, invocation, run_decode);
  auto arguments = std::make_shared<BenchTrainArguments>();
  CLI::App* command = bench->add_subcommand(
      "train", "Training steps per second of four models, beside a PyTorch program for the same models");
  command->add_option("--models", arguments->models, "which of tiny, small, standard, looped")
      ->check(CLI::IsMember(train::benchmark_models()))
      ->delimiter(',');
  arguments->compute.add_precision_to(
      *command, "of matrix products, ours and the peer's (tf32: on GPUs; the peer's bf16 is PyTorch's autocast)",
      {"f32", "tf32", "bf16"});
  command
      ->add_option("--seconds", arguments->seconds,
                   "time for each measurement, of ours and of the peer; beside a peer in three rounds")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--peer", arguments->peer, "the peer's script; empty: none")->capture_default_str();
  command->add_option("--python", arguments->python, "a Python that has torch")->capture_default_str();
  command->add_flag("--json", arguments->json, "print one JSON object");
  arguments->compute.add_to(*command);
  command->footer("Example:\n  incontext bench train --models tiny,small --seconds 5");
  command->callback([arguments, &invocation, run_train] { run_train(*arguments, invocation); });
}

}  // namespace incontext::cli

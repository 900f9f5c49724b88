#include "cli/shared_flags.h"

namespace incontext::cli {

void ComputeFlags::add_to(CLI::App& command) {
  command.add_option("--device", runtime.device, "cpu, cuda or cuda:N")->capture_default_str();
  command.add_option("--threads", runtime.threads, "processor threads; 0: all")->check(CLI::Range(0, 1024));
  command.add_option("--ops", ops, "kernels: our own; fallback: libtorch's, to check them by")
      ->check(CLI::IsMember({"kernels", "fallback"}))
      ->capture_default_str();
}

void ComputeFlags::add_precision_to(CLI::App& command, const std::string& of_what,
                                    const std::vector<std::string>& choices) {
  command.add_option("--precision", precision, of_what)->check(CLI::IsMember(choices))->capture_default_str();
}

void ComputeFlags::add_inference_precision_to(CLI::App& command) {
  add_precision_to(command,
                   "of activations that are multiplied by weights; bf16, which most peers use, reads prompts of bf16 "
                   "models faster on processors with AVX-512 BF16");
}

}  // namespace incontext::cli

#include "cli/shared_flags.h"

namespace incontext::cli {

void ComputeFlags::add_to(CLI::App& command) {
  command.add_option("--device", runtime.device, "cpu, cuda or cuda:N")->capture_default_str();
  command.add_option("--threads", runtime.threads, "processor threads; 0: all")->check(CLI::Range(0, 1024));
  command.add_option("--ops", ops, "kernels: our own; fallback: libtorch's, to check them by")
      ->check(CLI::IsMember({"kernels", "fallback"}))
      ->capture_default_str();
}

tensor::Runtime ComputeFlags::start() const {
  return tensor::start(runtime, ops == "kernels" ? tensor::Engine::kernels : tensor::Engine::fallback);
}

ops::Settings ComputeFlags::operations() const { return {.kernels = ops == "kernels"}; }

}  // namespace incontext::cli

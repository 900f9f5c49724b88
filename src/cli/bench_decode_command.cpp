#include <iostream>
#include <memory>

#include "base/machine.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/model_folder.h"
#include "cli/shared_flags.h"
#include "decode/benchmark.h"
#include "kernels/peak.h"
#include "ops/settings.h"
#include "tensor/device.h"

namespace incontext::cli {
namespace {

base::Json bench_prefill(const BenchDecodeArguments& arguments, const models::LanguageModel& model, int threads) {
  const decode::PrefillSpeed speed =
      decode::measure_prefill(model, cache::parse_policy(arguments.cache), arguments.prefill, /*repeats=*/3);
  const bool bf16 =
      arguments.compute.precision == "bf16" && model.decoder().head_weight().matrix.scalar_type() == torch::kBFloat16;
  const decode::LibraryProduct library = decode::measure_library_product(bf16, threads);
  const double peak = kernels::measure_fma_peak(tensor::kernel_pool());
  const double rate = speed.flops / speed.seconds;
  return {{"tokens", speed.tokens},
          {"tokens_per_second", static_cast<double>(speed.tokens) / speed.seconds},
          {"gflops", rate / 1e9},
          {"library_product_gflops", library.flops_per_second / 1e9},
          {"library_product_type", library.bf16 ? "bf16" : "fp32"},
          {"share_of_library_product", rate / library.flops_per_second},
          {"share_of_fp32_peak", rate / peak}};
}

}  // namespace

void run_bench_decode(const BenchDecodeArguments& arguments, Invocation&) {
  const tensor::Runtime runtime = arguments.compute.start();
  const models::LanguageModel model(find_model_folder(arguments.model), torch::kCPU, arguments.compute.operations());
  base::Json results = base::Json::array();
  if (!arguments.json) {
    std::cout << fmt::format("{}; {} threads; cache {}; activations {}\n", base::machine_description(), runtime.threads,
                             arguments.cache, arguments.compute.precision)
              << "   depth  tokens/s  MiB/token  GB/s read  of limit\n"
              << std::flush;
  }
  double best_bandwidth = 0;
  for (const int64_t depth : arguments.depths) {
    const decode::DecodeSpeed speed =
        decode::measure_decode(model, cache::parse_policy(arguments.cache), depth, arguments.tokens);
    best_bandwidth = std::max(best_bandwidth, speed.read_bandwidth);
    const double share = speed.tokens_per_second * static_cast<double>(speed.bytes_per_token) / speed.read_bandwidth;
    results.push_back({{"depth", depth},
                       {"tokens_per_second", speed.tokens_per_second},
                       {"bytes_per_token", speed.bytes_per_token},
                       {"read_bandwidth", speed.read_bandwidth},
                       {"share_of_limit", share}});
    if (arguments.json) continue;
    std::cout << fmt::format("{:>8}  {:>8.2f}  {:>9.1f}  {:>9.2f}  {:>6.0f} %\n", depth, speed.tokens_per_second,
                             static_cast<double>(speed.bytes_per_token) / 0x1p20, speed.read_bandwidth / 1e9,
                             100 * share)
              << std::flush;
  }
  base::Json json = {
      {"machine", base::machine_description()},   {"threads", runtime.threads},       {"cache", arguments.cache},
      {"precision", arguments.compute.precision}, {"read_bandwidth", best_bandwidth}, {"results", results}};
  if (arguments.prefill > 0) {
    json["prefill"] = bench_prefill(arguments, model, runtime.threads);
    const base::Json& prefill = json["prefill"];
    if (!arguments.json) {
      std::cout << fmt::format(
          "prompt of {} tokens: {:.1f} tokens/s, {:.1f} GFLOP/s, {:.0f} % of libtorch's own {} product in this run\n",
          arguments.prefill, prefill["tokens_per_second"].get<double>(), prefill["gflops"].get<double>(),
          100 * prefill["share_of_library_product"].get<double>(), prefill["library_product_type"].get<std::string>());
    }
  }
  json["peak_memory_bytes"] = base::peak_memory_bytes();
  json["weight_bytes"] = model.file_bytes();
  if (arguments.json) std::cout << json.dump() << "\n";
}

}  // namespace incontext::cli

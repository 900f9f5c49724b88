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

std::vector<cache::CachePolicy> policies_of(const BenchDecodeArguments& arguments, const models::LanguageModel& model) {
  std::vector<cache::CachePolicy> policies;
  for (const std::string& name : arguments.caches) {
    policies.push_back(cache::parse_policy(name));
    cache::open_kind(policies.back(), model.cached_model());  // an unknown one is told before anything is measured
  }
  return policies;
}

base::Json number_or_null(const std::optional<double>& number) { return number ? base::Json(*number) : base::Json(); }

// The first policy's row, and in it those of all.
base::Json bench_prefill(const BenchDecodeArguments& arguments, const models::LanguageModel& model,
                         std::span<const cache::CachePolicy> policies, int threads) {
  const std::vector<decode::PrefillSpeed> speeds =
      decode::measure_prefill(model, policies, arguments.prefill, /*repeats=*/3);
  const bool bf16 =
      arguments.compute.precision == "bf16" && model.decoder().head_weight().matrix.scalar_type() == torch::kBFloat16;
  const decode::LibraryProduct library = decode::measure_library_product(bf16, threads);
  const double peak = kernels::measure_fma_peak(tensor::kernel_pool());
  base::Json rows = base::Json::array();
  for (size_t i = 0; i < speeds.size(); ++i) {
    const decode::PrefillSpeed& speed = speeds[i];
    const double rate = speed.flops / speed.seconds;
    rows.push_back({{"cache", arguments.caches[i]},
                    {"tokens", speed.tokens},
                    {"tokens_per_second", static_cast<double>(speed.tokens) / speed.seconds},
                    {"seconds", speed.seconds},
                    {"compress_seconds", speed.compress_seconds},
                    {"ratio_to_full", number_or_null(speed.ratio_to_full)},
                    {"gflops", rate / 1e9},
                    {"library_product_gflops", library.flops_per_second / 1e9},
                    {"library_product_type", library.bf16 ? "bf16" : "fp32"},
                    {"share_of_library_product", rate / library.flops_per_second},
                    {"share_of_fp32_peak", rate / peak}});
  }
  base::Json json = rows[0];
  json["caches"] = std::move(rows);
  return json;
}

void print_prefill(const base::Json& row) {
  std::cout << fmt::format(
      "prompt of {} tokens, cache {}: {:.1f} tokens/s (compression {:.1f} % of the time), {:.1f} GFLOP/s, {:.0f} % of "
      "libtorch's own {} product in this run\n",
      row["tokens"].get<int64_t>(), row["cache"].get<std::string>(), row["tokens_per_second"].get<double>(),
      100 * row["compress_seconds"].get<double>() / row["seconds"].get<double>(), row["gflops"].get<double>(),
      100 * row["share_of_library_product"].get<double>(), row["library_product_type"].get<std::string>());
}

base::Json json_of(const std::string& cache, const decode::DecodeSpeed& speed) {
  const double share = speed.tokens_per_second * static_cast<double>(speed.bytes_per_token) / speed.read_bandwidth;
  return {{"cache", cache},
          {"depth", speed.depth},
          {"tokens_per_second", speed.tokens_per_second},
          {"cache_bytes", speed.cache_bytes},
          {"fixed_bytes", speed.fixed_bytes},
          {"bytes_per_token", speed.bytes_per_token},
          {"read_bandwidth", speed.read_bandwidth},
          {"share_of_limit", share},
          {"ratio_to_full", number_or_null(speed.ratio_to_full)}};
}

void print_depth(const base::Json& row, size_t name_width) {
  const base::Json& ratio = row["ratio_to_full"];
  std::cout << fmt::format("{:>8}  {:<{}}  {:>8.2f}  {:>7}  {:>9.1f}  {:>9.1f}  {:>9.2f}  {:>6.0f} %\n",
                           row["depth"].get<int64_t>(), row["cache"].get<std::string>(), name_width,
                           row["tokens_per_second"].get<double>(),
                           ratio.is_null() ? "-" : fmt::format("{:.2f}", ratio.get<double>()),
                           row["cache_bytes"].get<double>() / 0x1p20, row["bytes_per_token"].get<double>() / 0x1p20,
                           row["read_bandwidth"].get<double>() / 1e9, 100 * row["share_of_limit"].get<double>())
            << std::flush;
}

}  // namespace

void run_bench_decode(const BenchDecodeArguments& arguments, Invocation&) {
  const tensor::Runtime runtime = arguments.compute.start_on_cpu("bench decode");
  const models::LanguageModel model(find_model_folder(arguments.model), torch::kCPU, arguments.compute.operations());
  const std::vector<cache::CachePolicy> policies = policies_of(arguments, model);
  base::Json results = base::Json::array();
  size_t name_width = 5;
  for (const std::string& name : arguments.caches) name_width = std::max(name_width, name.size());
  if (!arguments.json) {
    std::cout << fmt::format("{}; {} threads; activations {}\n", base::machine_description(), runtime.threads,
                             arguments.compute.precision)
              << fmt::format("   depth  {:<{}}  tokens/s  of full  MiB cache  MiB/token  GB/s read  of limit\n",
                             "cache", name_width)
              << std::flush;
  }
  double best_bandwidth = 0;
  for (const int64_t depth : arguments.depths) {
    const std::vector<decode::DecodeSpeed> speeds = decode::measure_decode(model, policies, depth, arguments.tokens);
    for (size_t i = 0; i < speeds.size(); ++i) {
      best_bandwidth = std::max(best_bandwidth, speeds[i].read_bandwidth);
      results.push_back(json_of(arguments.caches[i], speeds[i]));
      if (!arguments.json) print_depth(results.back(), name_width);
    }
  }
  base::Json json = {{"machine", base::machine_description()},
                     {"threads", runtime.threads},
                     {"cache", arguments.caches[0]},
                     {"caches", arguments.caches},
                     {"precision", arguments.compute.precision},
                     {"read_bandwidth", best_bandwidth},
                     {"results", results}};
  if (arguments.prefill > 0) {
    json["prefill"] = bench_prefill(arguments, model, policies, runtime.threads);
    if (!arguments.json) {
      for (const base::Json& row : json["prefill"]["caches"]) print_prefill(row);
    }
  }
  json["peak_memory_bytes"] = base::peak_memory_bytes();
  json["weight_bytes"] = model.file_bytes();
  if (arguments.json) std::cout << json.dump() << "\n";
}

}  // namespace incontext::cli

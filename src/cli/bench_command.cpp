#include <algorithm>
#include <cmath>
#include <iostream>

#include "base/machine.h"
#include "base/statistics.h"
#include "base/temporary_directory.h"
#include "cli/commands.h"
#include "cli/peer.h"
#include "cli/shared_flags.h"
#include "kernels/peak.h"
#include "ops/settings.h"
#include "tensor/cuda.h"
#include "tensor/device.h"
#include "train/benchmark.h"

namespace incontext::cli {
namespace {

// Steps of which the losses are laid side by side.
constexpr int64_t kComparedSteps = 5;
constexpr int kRounds = 3;  // of ours and of the peer, in turn

// Steps of this process, with nothing else measured.
base::Json bench_own(const std::string& model, const BenchTrainArguments& arguments, const tensor::Runtime& runtime) {
  train::RunOptions options = train::benchmark_options(model);
  options.training.precision = *base::value_named<models::TrainingPrecision>(arguments.compute.precision);
  const auto measure_peak = [&] {
    return runtime.device.is_cuda() ? tensor::measure_product_peak(runtime.device)
                                    : kernels::measure_fma_peak(tensor::kernel_pool());
  };
  const double peak_before = measure_peak();
  train::Trainer trainer(options, runtime.device, arguments.compute.operations());
  const train::BenchmarkResult result = train::measure_steps(trainer, arguments.seconds, 3);
  const double memory = base::peak_memory_bytes();
  const double peak = std::max(peak_before, measure_peak());
  const double steps_per_second = 1 / base::median(result.step_seconds);
  return {{"model", model},
          {"precision", arguments.compute.precision},
          {"threads", runtime.threads},
          {"steps_per_second", steps_per_second},
          {"share_of_fp32_peak", train::step_flops(options) * steps_per_second / peak},
          {"fp32_peak_gflops", peak / 1e9},
          {"peak_memory_bytes", memory},
          {"losses", result.losses},
          {"peer_steps_per_second", nullptr},
          {"ratio", nullptr}};
}

// How far apart two runs are that began with the same weights and prompts: the largest relative difference of the
// losses of the steps that both made.
double loss_difference(const std::vector<double>& ours, const std::vector<double>& theirs) {
  double largest = 0;
  for (size_t i = 0; i < std::min(ours.size(), theirs.size()); ++i) {
    largest = std::max(largest, std::abs(ours[i] - theirs[i]) / std::abs(theirs[i]));
  }
  return largest;
}

// What `key` is in the middle of all rows.
double median_of(const std::vector<base::Json>& rows, const char* key) {
  std::vector<double> values;
  values.reserve(rows.size());
  for (const base::Json& row : rows) values.push_back(row.at(key).get<double>());
  return base::median(std::move(values));
}

// The peer in each way it can run; then ours and the peer in its best way, in turn, each in a process of its own. Of
// all figures, and of the ratio of the two runs of a round, between which a shared machine changes least, the medians.
base::Json bench_beside_peer(const std::string& model, const BenchTrainArguments& arguments, int threads) {
  const double seconds = arguments.seconds / kRounds;
  const std::vector<std::string> own = {"bench",       "train",
                                        "--models",    model,
                                        "--precision", arguments.compute.precision,
                                        "--seconds",   fmt::format("{}", seconds),
                                        "--threads",   std::to_string(threads),
                                        "--ops",       arguments.compute.ops,
                                        "--device",    arguments.compute.runtime.device,
                                        "--peer",      "",
                                        "--json"};
  const base::TemporaryDirectory start;
  train::write_benchmark_start(model, kComparedSteps, start.path());
  const PeerCall peer = best_way_of_peer({.python = arguments.python,
                                          .script = arguments.peer,
                                          .model = model,
                                          .start = start.path(),
                                          .threads = threads,
                                          .seconds = seconds,
                                          .device = arguments.compute.runtime.device,
                                          .precision = arguments.compute.precision});
  std::vector<base::Json> rounds;
  for (int round = 0; round < kRounds; ++round) {
    base::Json row = run_self(own).at("results").at(0);
    const PeerResult result = run_peer(peer);
    row["peer_steps_per_second"] = result.steps_per_second;
    row["peer_peak_memory_bytes"] = result.peak_memory_bytes;
    row["peer_losses"] = result.losses;
    row["peer_torch"] = result.torch;
    row["ratio"] = row["steps_per_second"].get<double>() / result.steps_per_second;
    rounds.push_back(std::move(row));
  }
  base::Json row = rounds[0];
  row["rounds"] = base::Json::array();
  for (const base::Json& round : rounds) {
    row["rounds"].push_back({{"steps_per_second", round["steps_per_second"]},
                             {"peer_steps_per_second", round["peer_steps_per_second"]},
                             {"ratio", round["ratio"]}});
  }
  for (const char* key : {"steps_per_second", "share_of_fp32_peak", "fp32_peak_gflops", "peak_memory_bytes",
                          "peer_steps_per_second", "peer_peak_memory_bytes", "ratio"}) {
    row[key] = median_of(rounds, key);
  }
  row["peer_threads"] = peer.threads;
  row["peer_blas_core"] = peer.blas_core;
  row["peer_variant"] = peer.variant;
  row["peer_precision"] = peer.precision;
  row["peer_python"] = peer.python;
  row["loss_difference"] =
      loss_difference(row["losses"].get<std::vector<double>>(), row["peer_losses"].get<std::vector<double>>());
  return row;
}

void print_row(const base::Json& row) {
  const bool has_peer = !row["ratio"].is_null();
  std::cout << fmt::format("{:<10} {:>10.3f} {:>7.0f} % {:>10} {:>8} {:>10.0f} {:>10} {:>12}\n",
                           row["model"].get<std::string>(), row["steps_per_second"].get<double>(),
                           100 * row["share_of_fp32_peak"].get<double>(),
                           has_peer ? fmt::format("{:.3f}", row["peer_steps_per_second"].get<double>()) : "-",
                           has_peer ? fmt::format("{:.2f}", row["ratio"].get<double>()) : "-",
                           row["peak_memory_bytes"].get<double>() / 0x1p20,
                           has_peer ? fmt::format("{:.0f}", row["peer_peak_memory_bytes"].get<double>() / 0x1p20) : "-",
                           has_peer ? fmt::format("{:.1e}", row["loss_difference"].get<double>()) : "-")
            << std::flush;
}

}  // namespace

void run_bench_train(const BenchTrainArguments& arguments, Invocation&) {
  const tensor::Runtime runtime = arguments.compute.start();
  const std::string torch = arguments.peer.empty() ? "" : torch_version(arguments.python);
  if (!arguments.json) {
    std::cout << fmt::format("{}; {} threads; {}\n", base::machine_description(), runtime.threads,
                             arguments.compute.precision);
    if (!torch.empty()) {
      std::cout << fmt::format(
          "peer: PyTorch {} of {}, {}\n", torch, arguments.python,
          arguments.compute.precision == "bf16" ? "bf16 by autocast" : arguments.compute.precision);
    }
    std::cout << "model       steps/s     of peak  peer steps/s   ratio  MiB (peak)  peer MiB  losses' diff\n"
              << std::flush;
  }
  base::Json results = base::Json::array();
  for (const std::string& model : arguments.models) {
    results.push_back(arguments.peer.empty() ? bench_own(model, arguments, runtime)
                                             : bench_beside_peer(model, arguments, runtime.threads));
    if (!arguments.json) print_row(results.back());
  }
  if (arguments.json) {
    std::cout << base::Json{{"machine", base::machine_description()}, {"results", results}}.dump() << "\n";
  }
}

}  // namespace incontext::cli

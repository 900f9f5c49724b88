// Orthogonal matching pursuit beside the batched PyTorch form of it (peer_omp.py), on the same vectors, in turn.
//   omp_bench [threads [python with PyTorch]]
// "of peak": the products of a dictionary with every residual, 2 * atoms * dim * sparsity operations for a vector, as a
// share of what fp32 multiply-adds reach on this machine; approximate products in int8 may exceed it.

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "base/machine.h"
#include "kernels/instruction_set.h"
#include "kernels/omp.h"
#include "kernels/peak.h"
#include "seconds.h"

namespace incontext::kernels {
namespace {

constexpr int64_t kAtoms = 4096, kVectors = 4096;

std::vector<float> unit_rows(int64_t rows, int64_t dim, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<std::size_t>(rows * dim));
  for (int64_t row = 0; row < rows; ++row) {
    double length = 0;
    float* at = values.data() + row * dim;
    for (int64_t d = 0; d < dim; ++d) length += std::pow(at[d] = normal(random), 2);
    for (int64_t d = 0; d < dim; ++d) at[d] /= static_cast<float>(std::sqrt(length));
  }
  return values;
}

void write(const std::string& path, const std::vector<float>& values) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(float)));
}

nlohmann::json run_peer(const std::string& command) {
  FILE* pipe = ::popen(command.c_str(), "r");
  std::string text;
  char buffer[256];
  while (pipe != nullptr && std::fgets(buffer, sizeof buffer, pipe) != nullptr) text += buffer;
  if (pipe == nullptr || ::pclose(pipe) != 0) return {};
  return nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
}

void measure(int64_t dim, int64_t sparsity, int threads, const std::string& python) {
  base::ThreadPool pool(threads);
  const std::vector<float> dictionary = unit_rows(kAtoms, dim, 1), vectors = unit_rows(kVectors, dim, 2);
  std::vector<uint16_t> chosen(static_cast<std::size_t>(kVectors * sparsity));
  std::vector<float> coefficients(chosen.size());
  std::vector<int32_t> used(static_cast<std::size_t>(kVectors));
  const Omp args{.atoms = dictionary.data(),
                 .atom_count = kAtoms,
                 .dim = dim,
                 .vectors = vectors.data(),
                 .stride = dim,
                 .count = kVectors,
                 .sparsity = sparsity,
                 .chosen = chosen.data(),
                 .coefficients = coefficients.data(),
                 .used = used.data()};
  const std::string folder = fmt::format("/tmp/incontext-omp-bench.{}", ::getpid());
  std::filesystem::create_directory(folder);
  write(folder + "/dictionary", dictionary);
  write(folder + "/vectors", std::vector<float>(vectors.begin(), vectors.begin() + 1024 * dim));
  omp(args, pool);
  double residual = 0;
  for (int64_t row = 0; row < 1024; ++row) {
    double left = 0;
    for (int64_t d = 0; d < dim; ++d) {
      double value = vectors[static_cast<std::size_t>(row * dim + d)];
      for (int64_t i = 0; i < sparsity; ++i) {
        const auto at = static_cast<std::size_t>(row * sparsity + i);
        value -= static_cast<double>(coefficients[at]) *
                 static_cast<double>(dictionary[static_cast<std::size_t>(chosen[at] * dim + d)]);
      }
      left += value * value;
    }
    residual += std::sqrt(left) / 1024;
  }
  std::vector<double> times;
  const auto repeat = [&] {
    for (int i = 0; i < 3; ++i) {
      const double start = bench::seconds(false);
      omp(args, pool);
      times.push_back(bench::seconds(false) - start);
    }
  };
  repeat();
  const nlohmann::json peer =
      run_peer(fmt::format("{} bench/peer_omp.py --atoms {} --dim {} --sparsity {} --threads {} --vectors {}/vectors "
                           "--dictionary {}/dictionary",
                           python, kAtoms, dim, sparsity, threads, folder, folder));
  repeat();
  std::filesystem::remove_all(folder);
  std::sort(times.begin(), times.end());
  const double rate = static_cast<double>(kVectors) / times[times.size() / 2];
  const double share = rate * 2 * static_cast<double>(kAtoms * dim * sparsity) / measure_fma_peak(pool);
  fmt::print("{:>4} {:>3} {:>12.0f} {:>8.0f} % {:>10.4f}", dim, sparsity, rate, 100 * share, residual);
  if (peer.is_object() && peer.contains("vectors_per_second")) {
    const double other = peer["vectors_per_second"];
    fmt::print(" {:>12.0f} {:>10.4f} {:>8.1f}", other, peer["residual"].get<double>(), rate / other);
  } else {
    fmt::print(" {:>12}", "no PyTorch");
  }
  fmt::print("\n");
}

}  // namespace
}  // namespace incontext::kernels

int main(int argc, char** argv) {
  using namespace incontext;
  const int threads = argc > 1 ? std::atoi(argv[1]) : 2;
  const std::string python = argc > 2 ? argv[2] : "python3";
  fmt::print("{}; kernels use {}; {} threads; {} atoms\n", base::machine_description(), kernels::instruction_set(),
             threads, kernels::kAtoms);
  fmt::print("{:>4} {:>3} {:>12} {:>10} {:>10} {:>12} {:>10} {:>8}\n", "dim", "s", "vectors/s", "of peak", "residual",
             "PyTorch's", "residual", "ratio");
  for (const int64_t dim : {128, 64}) {
    for (const int64_t sparsity : {8, 16, 32}) kernels::measure(dim, sparsity, threads, python);
  }
}

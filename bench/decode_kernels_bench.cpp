// The share of this machine's read bandwidth and multiply-add peak, both measured in the same run, that the kernels of
// inference reach at the shapes of language models. Each kernel is first compared with its definition.
//   decode_kernels_bench [threads [filter]]

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/machine.h"
#include "kernels/bandwidth.h"
#include "kernels/instruction_set.h"
#include "kernels/peak.h"
#include "kernels/weight_product.h"

namespace incontext::kernels {
namespace {

constexpr int kRepeats = 9;

/// Seconds of this thread alone with one thread, so that other work on the machine counts less; else of the clock.
double seconds(bool alone) {
  if (alone) {
    timespec t{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double median_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

class Bench {
 public:
  Bench(int threads, std::string filter) : pool(threads), filter_(std::move(filter)) {
    fmt::print("{}; kernels use {}; {} threads\n", base::machine_description(), instruction_set(), threads);
    fmt::print("{:<52} {:>11} {:>18} {:>10}\n", "median of 9", "time", "rate", "of roof");
  }

  bool wants(const std::string& name) const { return name.find(filter_) != std::string::npos; }

  /// The roof is measured again beside every kernel: neighbours on the machine take their share of both.
  void report_reading(const std::string& name, double bytes, const std::function<void()>& work) {
    const double before = measure_read_bandwidth(pool, kProbe);
    const double time = time_of(work);
    const double roof = std::max(before, measure_read_bandwidth(pool, kProbe));
    print(name, time, bytes, "GB/s", roof);
  }

  void report_computing(const std::string& name, double operations, const std::function<void()>& work) {
    const double before = measure_fma_peak(pool);
    const double time = time_of(work);
    const double roof = std::max(before, measure_fma_peak(pool));
    print(name, time, operations, "GFLOP/s", roof);
  }

  base::ThreadPool pool;

 private:
  static constexpr int64_t kProbe = int64_t{256} << 20U;

  double time_of(const std::function<void()>& work) {
    const bool alone = pool.size() == 1;
    work();
    std::vector<double> times;
    for (int repeat = 0; repeat < kRepeats; ++repeat) {
      const double start = seconds(alone);
      work();
      times.push_back(seconds(alone) - start);
    }
    return median_of(times);
  }

  static void print(const std::string& name, double time, double amount, const char* unit, double roof) {
    fmt::print("{:<52} {:8.3f} ms {:10.1f} {:<8} {:6.1f} % of {:.1f}\n", name, time * 1e3, amount / time / 1e9, unit,
               100 * amount / time / roof, roof / 1e9);
    std::fflush(stdout);
  }

  std::string filter_;
};

std::vector<float> random_values(int64_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-0.5F, 0.5F);
  std::vector<float> values(static_cast<std::size_t>(size));
  for (float& value : values) value = uniform(random);
  return values;
}

/// `size` elements in some storage, the same 64 K random numbers over and over.
std::vector<uint16_t> stored_values(Storage storage, int64_t size, unsigned seed) {
  const std::vector<float> values = random_values(65536, seed);
  std::vector<uint16_t> stored(static_cast<std::size_t>(size * bytes_per_element(storage) / 2));
  for (int64_t i = 0; i < size; i += 65536) {
    write_row(storage, values.data(), std::min<int64_t>(65536, size - i),
              stored.data() + i * bytes_per_element(storage) / 2);
  }
  return stored;
}

void check_close(const std::string& name, const std::vector<float>& actual, const std::vector<float>& expected) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const float allowed = 1e-4F + 1e-4F * std::fabs(expected[i]);
    base::check(std::fabs(actual[i] - expected[i]) <= allowed, "[{}] expected {} at {}, got {}", name, expected[i], i,
                actual[i]);
  }
}

const char* name_of(Storage storage) {
  return storage == Storage::f32 ? "f32" : storage == Storage::f16 ? "f16" : "bf16";
}

void bench_weight_product(Bench& bench, Storage storage, int64_t rows, int64_t columns, int64_t depth) {
  const std::string name = fmt::format("weight product {} {}x{}x{}", name_of(storage), rows, columns, depth);
  if (!bench.wants(name)) return;
  const std::vector<float> x = random_values(rows * depth, 1);
  const std::vector<uint16_t> weight = stored_values(storage, columns * depth, 2);
  std::vector<float> y(static_cast<std::size_t>(rows * columns));
  WeightMatrix matrix{storage, weight.data(), depth, columns, nullptr, nullptr, y.data(), columns};
  const WeightProduct product{rows, depth, x.data(), depth, {&matrix, 1}};
  weight_product(product, bench.pool);
  std::vector<float> expected(static_cast<std::size_t>(rows * columns));
  WeightMatrix few = matrix;  // the definition is slow: compare the corner where the cuts end
  const int64_t some_columns = std::min<int64_t>(columns, 50), some_rows = std::min<int64_t>(rows, 5);
  few.weight = weight.data() + (columns - some_columns) * depth * bytes_per_element(storage) / 2;
  few.columns = some_columns;
  few.y = expected.data();
  ref::weight_product({some_rows, depth, x.data() + (rows - some_rows) * depth, depth, {&few, 1}});
  for (int64_t i = 0; i < some_rows; ++i) {
    const auto from = y.begin() + (rows - some_rows + i) * columns + columns - some_columns;
    check_close(name, {from, from + some_columns},
                {expected.begin() + i * columns, expected.begin() + i * columns + some_columns});
  }
  if (rows <= 8) {
    bench.report_reading(name, static_cast<double>(columns * depth * bytes_per_element(storage)),
                         [&] { weight_product(product, bench.pool); });
  }
  if (rows >= 4) {
    bench.report_computing(name, 2.0 * static_cast<double>(rows * columns * depth),
                           [&] { weight_product(product, bench.pool); });
  }
}

void bench_all(int threads, const std::string& filter) {
  Bench bench(threads, filter);
  for (const Storage storage : {Storage::bf16, Storage::f16, Storage::f32}) {
    bench_weight_product(bench, storage, 1, 8192, 2048);
    bench_weight_product(bench, storage, 1, 2048, 8192);
    bench_weight_product(bench, storage, 1, 128256, 2048);
  }
  for (const int64_t rows : {2, 4, 8, 16, 32, 64}) bench_weight_product(bench, Storage::bf16, rows, 8192, 2048);
  for (const Storage storage : {Storage::bf16, Storage::f16, Storage::f32}) {
    bench_weight_product(bench, storage, 2048, 2048, 2048);
    bench_weight_product(bench, storage, 512, 2048, 8192);
  }
}

}  // namespace
}  // namespace incontext::kernels

int main(int argc, char** argv) {
  try {
    incontext::kernels::bench_all(argc > 1 ? std::atoi(argv[1]) : 1, argc > 2 ? argv[2] : "");
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
  return 0;
}

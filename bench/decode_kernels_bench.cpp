// The share of this machine's read bandwidth and multiply-add peak, both measured in the same run, that the kernels of
// inference reach at the shapes of language models. Each kernel is first compared with its definition.
//   decode_kernels_bench [threads [filter]]

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/machine.h"
#include "base/statistics.h"
#include "kernels/bandwidth.h"
#include "kernels/cache_attention.h"
#include "kernels/code_attention.h"
#include "kernels/cpu/weight_bf16.h"
#include "kernels/instruction_set.h"
#include "kernels/key_blocks.h"
#include "kernels/peak.h"
#include "kernels/softmax.h"
#include "kernels/storage_names.h"
#include "kernels/top_k.h"
#include "kernels/weight_product.h"
#include "seconds.h"

namespace incontext::kernels {
namespace {

using bench::seconds;

constexpr int kRepeats = 9;

class Bench {
 public:
  Bench(int threads, std::string filter) : pool(threads), filter_(std::move(filter)) {
    fmt::print("{}; kernels use {}; {} threads\n", base::machine_description(), instruction_set(), threads);
    fmt::print("{:<52} {:>11} {:>15} {:>8} {:>8}\n", "medians of 9", "time", "rate", "of roof", "best");
  }

  bool wants(const std::string& name) const { return name.find(filter_) != std::string::npos; }

  void report_reading(const std::string& name, double bytes, const std::function<void()>& work) {
    ReadBandwidth memory(pool, int64_t{128} << 20U);
    report(name, bytes, "GB/s", work, [&] {
      memory.sample();
      return memory.median();
    });
  }
  void report_computing(const std::string& name, double operations, const std::function<void()>& work) {
    std::vector<double> peaks;
    report(name, operations, "GFLOP/s", work, [&] {
      peaks.push_back(measure_fma_peak(pool));
      return base::median(peaks);
    });
  }

  base::ThreadPool pool;

 private:
  /// Kernel and roof are measured in turn, for neighbours on the machine take their share of both. sample_roof() gives
  /// the median so far.
  void report(const std::string& name, double amount, const char* unit, const std::function<void()>& work,
              const std::function<double()>& sample_roof) {
    const bool alone = pool.size() == 1;
    work();
    std::vector<double> times;
    double roof = 0;
    for (int repeat = 0; repeat < kRepeats; ++repeat) {
      roof = sample_roof();
      const double start = seconds(alone);
      work();
      times.push_back(seconds(alone) - start);
    }
    const double rate = amount / base::median(times);
    const double best = amount / *std::min_element(times.begin(), times.end());
    fmt::print("{:<52} {:8.3f} ms {:7.1f} {:<7} {:6.1f} % {:6.1f} % of {:.1f}\n", name, base::median(times) * 1e3,
               rate / 1e9, unit, 100 * rate / roof, 100 * best / roof, roof / 1e9);
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

/// How rows are multiplied by weights in bf16: as they are, rounded by what this machine has for bf16, or rounded in
/// the arithmetic of AMX's tiles, of which any machine with AVX-512 can do few rows.
enum class Rows { plain, rounded, few_of_tiles };

void bench_weight_product(Bench& bench, Storage storage, int64_t rows, int64_t columns, int64_t depth,
                          Rows kind = Rows::plain) {
  const char* const kind_name = kind == Rows::plain ? "" : kind == Rows::rounded ? " by bf16" : " by bf16 as on AMX";
  const std::string name =
      fmt::format("weight product {}{} {}x{}x{}", base::name_of(storage), kind_name, rows, columns, depth);
  if (!bench.wants(name)) return;
  const TileUnit tiles(&multiply_tile_strip<PlainTiles>);
  const auto multiply = [&](const WeightProduct& product) {
    if (kind == Rows::few_of_tiles) return weight_product_in_bf16(product, &tiles, bench.pool);
    weight_product(product, bench.pool);
  };
  const std::vector<float> x = random_values(rows * depth, 1);
  // Few rows: as many copies as exceed the caches, one after the other, as the layers of a model would come.
  const int64_t bytes = columns * depth * bytes_per_element(storage);
  const int64_t copies = rows > 8 ? 1 : 1 + (int64_t{256} << 20U) / bytes;
  const std::vector<uint16_t> weight = stored_values(storage, copies * columns * depth, 2);
  std::vector<float> y(static_cast<std::size_t>(rows * columns));
  WeightMatrix matrix{storage, weight.data(), depth, columns, nullptr, nullptr, y.data(), columns};
  const Precision precision = kind == Rows::plain ? Precision::f32 : Precision::bf16;
  const WeightProduct product{rows, depth, x.data(), depth, {&matrix, 1}, precision};
  multiply(product);
  std::vector<float> expected(static_cast<std::size_t>(rows * columns));
  WeightMatrix few = matrix;  // the definition is slow: compare the corner where the cuts end
  const int64_t some_columns = std::min<int64_t>(columns, 50), some_rows = std::min<int64_t>(rows, 5);
  few.weight = weight.data() + (columns - some_columns) * depth * bytes_per_element(storage) / 2;
  few.columns = some_columns;
  few.y = expected.data();
  ref::weight_product({some_rows, depth, x.data() + (rows - some_rows) * depth, depth, {&few, 1}, precision});
  for (int64_t i = 0; i < some_rows; ++i) {
    const auto from = y.begin() + (rows - some_rows + i) * columns + columns - some_columns;
    check_close(name, {from, from + some_columns},
                {expected.begin() + i * columns, expected.begin() + i * columns + some_columns});
  }
  const auto work = [&] {
    for (int64_t copy = 0; copy < copies; ++copy) {
      matrix.weight = weight.data() + copy * bytes / 2;
      multiply(product);
    }
  };
  if (rows <= 8) bench.report_reading(name, static_cast<double>(copies * bytes), work);
  if (rows >= 4) bench.report_computing(name, 2.0 * static_cast<double>(copies * rows * columns * depth), work);
}

struct AttentionShape {
  int64_t heads, kv_heads, head_dim, sequences, first, count;
};

void bench_attention(Bench& bench, Storage storage, const AttentionShape& shape) {
  const auto [heads, kv_heads, head_dim, sequences, first, count] = shape;
  const std::string name = fmt::format("cache attention {} {}/{} heads of {}, {} x {} at {}", base::name_of(storage),
                                       heads, kv_heads, head_dim, sequences, count, first);
  if (!bench.wants(name)) return;
  const int64_t width = heads * head_dim, cached = key_blocks(first + count) * kKeyBlock * head_dim;
  // Copies as above.
  const int64_t bytes = 2 * sequences * kv_heads * cached * bytes_per_element(storage);
  const int64_t copies = count > 8 ? 1 : 1 + (int64_t{256} << 20U) / bytes;
  const std::vector<uint16_t> cache = stored_values(storage, copies * bytes / bytes_per_element(storage), 1);
  const std::vector<float> q = random_values(sequences * count * width, 2);
  std::vector<float> out(q.size()), expected(q.size());
  std::vector<const void*> places;
  for (int64_t i = 0; i < copies * sequences * kv_heads * 2; ++i) {
    places.push_back(cache.data() + i * cached * bytes_per_element(storage) / 2);
  }
  std::vector<CacheAttentionSequence> all;
  for (int64_t i = 0; i < copies * sequences; ++i) {
    const int64_t row = i % sequences * count * width;
    const void* const* keys = places.data() + i * kv_heads * 2;
    all.push_back({q.data() + row, out.data() + row, count, first, keys, keys + kv_heads});
  }
  CacheAttention args;
  args.storage = storage, args.heads = heads, args.kv_heads = kv_heads, args.head_dim = head_dim;
  args.value_stride = head_dim, args.q_stride = args.out_stride = width;
  args.scale = 1 / std::sqrt(static_cast<float>(head_dim));
  args.sequences = {all.data(), static_cast<std::size_t>(sequences)};
  cache_attention(args, bench.pool);
  CacheAttentionSequence last = all[static_cast<std::size_t>(sequences - 1)];  // its last token, by the definition
  last.q += (count - 1) * width;
  last.first_position += count - 1;
  last.count = 1;
  last.out = expected.data();
  CacheAttention few = args;
  few.sequences = {&last, 1};
  ref::cache_attention(few);
  check_close(name, {out.end() - width, out.end()}, {expected.begin(), expected.begin() + width});
  const auto work = [&] {
    for (int64_t copy = 0; copy < copies; ++copy) {
      args.sequences = {all.data() + copy * sequences, static_cast<std::size_t>(sequences)};
      cache_attention(args, bench.pool);
    }
  };
  if (count <= 8) {
    bench.report_reading(name, static_cast<double>(copies * bytes), work);
  } else {
    const double seen = static_cast<double>(count) * (static_cast<double>(first) + static_cast<double>(count + 1) / 2);
    bench.report_computing(name, 4.0 * static_cast<double>(sequences * width) * seen, work);
  }
}

/// Attention of one token over codes; the time is to be compared with that over f16 at the same shape.
void bench_code_attention(Bench& bench, const std::string& form, const IntegerCodes& keys, const IntegerCodes& values,
                          const AttentionShape& shape) {
  const auto [heads, kv_heads, head_dim, sequences, first, count] = shape;
  const std::string name = fmt::format("cache attention {} {}/{} heads of {}, {} x {} at {}", form, heads, kv_heads,
                                       head_dim, sequences, count, first);
  if (!bench.wants(name)) return;
  const int64_t width = heads * head_dim, blocks = first / kCodeBlock;
  const int64_t block = kv_heads * (keys.bytes(head_dim) + values.bytes(head_dim)), bytes = blocks * block;
  const int64_t copies = 1 + (int64_t{256} << 20U) / bytes;
  std::vector<std::byte> codes(static_cast<std::size_t>(copies * bytes));
  std::mt19937 random(1);
  for (std::byte& each : codes) each = static_cast<std::byte>(random());
  for (int64_t at = 0; at < copies * bytes;) {
    for (const IntegerCodes& part : {keys, values}) {
      const int64_t halves = part.scales(head_dim) * (part.zeros ? 2 : 1);
      for (int64_t i = 0; i < halves; ++i) write_element(Storage::f16, codes.data() + at, i, 0.01F);
      at += part.bytes(head_dim);
    }
  }
  const std::vector<float> q = random_values(count * width, 2);
  std::vector<float> out(q.size()), expected(q.size());
  CodeAttentionSequence sequence{
      .q = q.data(), .out = expected.data(), .count = count, .last = blocks * kCodeBlock, .codes = codes.data()};
  const CodeAttention args{.keys = keys,
                           .values = values,
                           .heads = heads,
                           .kv_heads = kv_heads,
                           .head_dim = head_dim,
                           .q_stride = width,
                           .out_stride = width,
                           .block_bytes = block,
                           .scale = 1 / std::sqrt(static_cast<float>(head_dim)),
                           .sequences = {&sequence, 1}};
  ref::code_attention(args);
  sequence.out = out.data();
  code_attention(args, bench.pool);
  check_close(name, out, expected);
  bench.report_reading(name, static_cast<double>(copies * bytes), [&] {
    for (int64_t copy = 0; copy < copies; ++copy) {
      sequence.codes = codes.data() + copy * bytes;
      code_attention(args, bench.pool);
    }
  });
}

void bench_sampling(Bench& bench) {
  constexpr int64_t kVocabulary = 128256;
  const std::vector<float> logits = random_values(kVocabulary, 1);
  std::vector<float> out(logits.size()), expected(logits.size());
  std::vector<int64_t> indices(50), expected_indices(50);
  softmax(logits.data(), kVocabulary, out.data());
  ref::softmax(logits.data(), kVocabulary, expected.data());
  check_close("softmax", out, expected);
  top_k(logits.data(), kVocabulary, 50, indices.data(), out.data());
  ref::top_k(logits.data(), kVocabulary, 50, expected_indices.data(), expected.data());
  base::check(indices == expected_indices, "[top_k] expected the indices of its definition, got others");
  const double bytes = 4.0 * kVocabulary;
  if (bench.wants("softmax")) {
    bench.report_reading("softmax of 128256", 2 * bytes, [&] { softmax(logits.data(), kVocabulary, out.data()); });
  }
  if (bench.wants("top 50")) {
    bench.report_reading("top 50 of 128256", bytes,
                         [&] { top_k(logits.data(), kVocabulary, 50, indices.data(), out.data()); });
  }
}

void bench_all(int threads, const std::string& filter) {
  Bench bench(threads, filter);
  for (const Storage storage : {Storage::bf16, Storage::f16, Storage::f32}) {
    bench_weight_product(bench, storage, 1, 8192, 2048);
    bench_weight_product(bench, storage, 1, 2048, 8192);
    bench_weight_product(bench, storage, 1, 128256, 2048);
  }
  for (const Rows kind : {Rows::rounded, Rows::few_of_tiles}) {
    if (kind == Rows::few_of_tiles && !has_few_rows_for_tiles()) continue;
    bench_weight_product(bench, Storage::bf16, 1, 8192, 2048, kind);
    bench_weight_product(bench, Storage::bf16, 1, 2048, 8192, kind);
    bench_weight_product(bench, Storage::bf16, 1, 128256, 2048, kind);
    for (const int64_t rows : {2, 3, 4}) bench_weight_product(bench, Storage::bf16, rows, 8192, 2048, kind);
  }
  for (const int64_t rows : {2, 4, 8, 16, 32, 64}) bench_weight_product(bench, Storage::bf16, rows, 8192, 2048);
  for (const Storage storage : {Storage::bf16, Storage::f16, Storage::f32}) {
    bench_weight_product(bench, storage, 2048, 2048, 2048);
    bench_weight_product(bench, storage, 512, 2048, 8192);
  }
  for (const Storage storage : {Storage::bf16, Storage::f16, Storage::f32}) {
    bench_attention(bench, storage, {32, 8, 64, 1, 16383, 1});
  }
  bench_attention(bench, Storage::bf16, {32, 8, 128, 1, 16383, 1});
  bench_attention(bench, Storage::bf16, {32, 32, 80, 1, 4095, 1});
  bench_attention(bench, Storage::bf16, {14, 2, 64, 1, 16383, 1});
  bench_attention(bench, Storage::bf16, {32, 8, 64, 16, 1023, 1});
  bench_attention(bench, Storage::bf16, {32, 8, 64, 1, 0, 2048});
  bench_attention(bench, Storage::bf16, {32, 8, 128, 1, 0, 2048});
  bench_attention(bench, Storage::bf16, {32, 8, 64, 1, 8192, 512});
  constexpr AttentionShape kLong{32, 8, 64, 1, 16384, 1};
  const auto values = [](int bits, bool zeros) { return IntegerCodes{.bits = bits, .zeros = zeros, .values = true}; };
  const auto channels = [](int bits) { return IntegerCodes{.bits = bits, .zeros = true, .group = 0}; };
  bench_code_attention(bench, "q8_0", {.bits = 8}, values(8, false), kLong);
  bench_code_attention(bench, "q4_0", {.bits = 4}, values(4, false), kLong);
  bench_code_attention(bench, "kivi 4", channels(4), values(4, true), kLong);
  bench_code_attention(bench, "kivi 2", channels(2), values(2, true), kLong);
  bench_sampling(bench);
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

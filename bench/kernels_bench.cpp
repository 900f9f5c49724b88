// The share of this machine's peak that the kernels reach at the shapes of a training step: 64 sequences of 82 tokens,
// widths 64, 128 and 256. Each kernel is first compared with its definition.
//   kernels_bench [threads] [f32|bf16] [part of a name]
// bf16: products and attention alone, with bf16 factors, as a share of the fp32 peak; activations and their gradients
// lie in bf16. With a name: the products and attention so named alone.

#include <fmt/format.h>
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <new>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/machine.h"
#include "kernels/attention.h"
#include "kernels/instruction_set.h"
#include "kernels/matrix_product.h"
#include "kernels/norm.h"
#include "kernels/optimizer.h"
#include "seconds.h"

namespace incontext::kernels {
namespace {

using bench::seconds;

constexpr int64_t kSequences = 64;
constexpr int64_t kTime = 82;
constexpr int64_t kTokens = kSequences * kTime;
constexpr int kRepeats = 15;

struct Timing {
  double best = 0, median = 0;
};

Timing time_of(bool alone, const std::function<void()>& work) {
  work();
  std::vector<double> times;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    const double start = seconds(alone);
    work();
    times.push_back(seconds(alone) - start);
  }
  std::sort(times.begin(), times.end());
  return {times.front(), times[times.size() / 2]};
}

// Twelve independent sums: enough to hide the latency of a multiply-add.
[[gnu::target("avx2,fma")]] float avx2_loop(int64_t rounds) {
  __m256 sums[12];
  for (int i = 0; i < 12; ++i) sums[i] = _mm256_set1_ps(static_cast<float>(i));
  const __m256 factor = _mm256_set1_ps(0.9999F), addend = _mm256_set1_ps(1e-3F);
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < 12; ++i) sums[i] = _mm256_fmadd_ps(sums[i], factor, addend);
  }
  float total = 0;
  for (const __m256& sum : sums) total += sum[0];
  return total;
}

[[gnu::target("avx512f")]] float avx512_loop(int64_t rounds) {
  __m512 sums[12];
  for (int i = 0; i < 12; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  const __m512 factor = _mm512_set1_ps(0.9999F), addend = _mm512_set1_ps(1e-3F);
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < 12; ++i) sums[i] = _mm512_fmadd_ps(sums[i], factor, addend);
  }
  float total = 0;
  for (const __m512& sum : sums) total += sum[0];
  return total;
}

/// Floating-point operations per second of fused multiply-adds on registers, on all threads of the pool.
double measure_peak(base::ThreadPool& pool) {
  const bool wide = __builtin_cpu_supports("avx512f") != 0;
  base::check(wide || __builtin_cpu_supports("avx2") != 0, "[kernels_bench] expected a machine with AVX2, got none");
  constexpr int64_t kRounds = 400000;
  volatile float sink = 0;
  const Timing timing = time_of(pool.size() == 1, [&] {
    pool.run(pool.size(), [&](int64_t, int) { sink = sink + (wide ? avx512_loop(kRounds) : avx2_loop(kRounds)); });
  });
  return static_cast<double>(pool.size()) * kRounds * 12 * 2 * (wide ? 16 : 8) / timing.best;
}

std::vector<float> random_values(int64_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-0.5F, 0.5F);
  std::vector<float> values(static_cast<std::size_t>(size));
  for (float& value : values) value = uniform(random);
  return values;
}

/// Memory that begins with a line of the cache, as that of tensors does.
template <class T>
struct InLines {
  using value_type = T;
  static constexpr std::align_val_t kLine{64};
  T* allocate(std::size_t size) { return static_cast<T*>(::operator new(size * sizeof(T), kLine)); }
  void deallocate(T* data, std::size_t) { ::operator delete(data, kLine); }
  friend bool operator==(const InLines&, const InLines&) { return true; }
};

/// Random numbers in fp32 or bf16.
class Numbers {
 public:
  Numbers(int64_t size, unsigned seed, bool bf16) {
    const std::vector<float> values = random_values(size, seed);
    f32_.assign(values.begin(), values.end());
    if (bf16) bf16_.resize(f32_.size());
    for (std::size_t i = 0; i < bf16_.size(); ++i) bf16_[i] = to_bf16(f32_[i]);
  }
  Array array() {
    if (bf16_.empty()) return f32_.data();
    return bf16_.data();
  }
  std::vector<float> first(int64_t count) {
    std::vector<float> values;
    for (int64_t i = 0; i < count; ++i) values.push_back(array()[i]);
    return values;
  }

 private:
  std::vector<float, InLines<float>> f32_;
  std::vector<uint16_t, InLines<uint16_t>> bf16_;
};

void check_close(const std::string& name, const std::vector<float>& actual, const std::vector<float>& expected,
                 float relative = 1e-4F) {
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const float allowed = 1e-3F + relative * std::fabs(expected[i]);
    base::check(std::fabs(actual[i] - expected[i]) <= allowed, "[{}] expected {} at {}, got {}", name, expected[i], i,
                actual[i]);
  }
}

/// Prints one line: rate in `unit` (1e9 per second) and its share of the peak, when one is given.
void report(const std::string& name, const Timing& timing, double work, const char* unit, double peak) {
  std::string share;
  if (peak > 0)
    share = fmt::format("{:6.1f} % {:6.1f} %", 100 * work / timing.best / peak, 100 * work / timing.median / peak);
  fmt::print("{:<44} {:9.3f} ms {:8.1f} {} {}\n", name, timing.median * 1e3, work / timing.best / 1e9, unit, share);
}

struct Shape {
  const char* name;
  int64_t rows, columns, depth;
  bool transpose_a = false, transpose_b = false;
  Epilogue epilogue = {};
};

void bench_product(const Shape& s, int64_t width, Precision precision, const std::string& wanted, double peak,
                   base::ThreadPool& pool) {
  const std::string name = fmt::format("{} {} {}x{}x{}", width, s.name, s.rows, s.columns, s.depth);
  if (name.find(wanted) == std::string::npos) return;
  const bool bf16 = precision == Precision::bf16;
  Numbers a(s.rows * s.depth, 1, bf16), b(s.columns * s.depth, 2, bf16 && s.transpose_a);
  const std::vector<float> bias = random_values(s.columns, 3);
  Numbers pre(s.rows * s.columns, 4, bf16), c(s.rows * s.columns, 5, bf16 && !s.transpose_a);
  MatrixProduct p;
  p.rows = s.rows, p.columns = s.columns, p.depth = s.depth;
  p.a = a.array(), p.a_stride = s.transpose_a ? s.rows : s.depth, p.transpose_a = s.transpose_a;
  p.b = b.array(), p.b_stride = s.transpose_b ? s.depth : s.columns, p.transpose_b = s.transpose_b;
  p.c = c.array(), p.c_stride = s.columns;
  p.epilogue = s.epilogue;
  if (s.transpose_b) p.epilogue.bias = bias.data();
  if (p.epilogue.activation != Activation::none) p.epilogue.preactivation = pre.array();
  // The definition is slow: compare a few rows.
  MatrixProduct few = p;
  few.rows = std::min<int64_t>(s.rows, 7);
  Numbers expected = c, expected_pre = pre;
  few.c = expected.array();
  if (few.epilogue.preactivation != nullptr) few.epilogue.preactivation = expected_pre.array();
  ref::matrix_product(few, precision);
  matrix_product(p, precision, pool);
  const int64_t checked = few.rows * s.columns;
  check_close(name, c.first(checked), expected.first(checked), bf16 ? 1e-2F : 1e-4F);
  const Timing timing = time_of(pool.size() == 1, [&] { matrix_product(p, precision, pool); });
  report(name, timing, 2.0 * static_cast<double>(s.rows * s.columns * s.depth), "GFLOP/s", peak);
}

void bench_products(int64_t width, Precision precision, const std::string& wanted, double peak,
                    base::ThreadPool& pool) {
  const Epilogue gelu{.activation = Activation::gelu_tanh};
  const Epilogue gelu_gradient{.activation = Activation::gelu_tanh, .activation_gradient = true};
  const std::vector<Shape> shapes{
      {"qkv forward", kTokens, 3 * width, width, false, true},
      {"projection forward", kTokens, width, width, false, true},
      {"mlp up forward, gelu", kTokens, 4 * width, width, false, true, gelu},
      {"mlp up forward, no gelu", kTokens, 4 * width, width, false, true},
      {"mlp down forward", kTokens, width, 4 * width, false, true},
      {"mlp down input gradient, gelu'", kTokens, 4 * width, width, false, false, gelu_gradient},
      {"mlp up input gradient", kTokens, width, 4 * width},
      {"qkv input gradient", kTokens, width, 3 * width},
      {"qkv weight gradient", 3 * width, width, kTokens, true},
      {"projection weight gradient", width, width, kTokens, true},
      {"mlp up weight gradient", 4 * width, width, kTokens, true},
      {"mlp down weight gradient", width, 4 * width, kTokens, true}};
  for (const Shape& shape : shapes) bench_product(shape, width, precision, wanted, peak, pool);
}

/// Operations that the triangle needs: products of queries and keys up to the diagonal.
void bench_attention(int64_t width, Precision precision, const std::string& wanted, double peak,
                     base::ThreadPool& pool) {
  const std::string name = fmt::format("{} attention", width);
  if (name.find(wanted) == std::string::npos) return;
  const int64_t heads = width / 32;
  const AttentionShape shape{kSequences, kTime, heads, heads, 32, true, 1 / std::sqrt(32.0F)};
  const bool bf16 = precision == Precision::bf16;
  Numbers qkv(kTokens * 3 * width, 1, bf16), dout(kTokens * width, 2, bf16), out(kTokens * width, 3, bf16);
  Numbers dqkv(kTokens * 3 * width, 4, bf16);
  std::vector<float> lse(static_cast<std::size_t>(kTokens * heads));
  const AttentionForward forward{.shape = shape,
                                 .q = qkv.array(),
                                 .k = qkv.array() + width,
                                 .v = qkv.array() + 2 * width,
                                 .q_stride = 3 * width,
                                 .k_stride = 3 * width,
                                 .v_stride = 3 * width,
                                 .out = out.array(),
                                 .out_stride = width,
                                 .log_sum_exp = lse.data()};
  attention_forward(forward, pool);
  Numbers expected = out;
  AttentionForward few = forward;
  few.shape.batch = 1;
  few.out = expected.array();
  few.log_sum_exp = nullptr;
  ref::attention_forward(few);
  check_close(name, out.first(kTime * width), expected.first(kTime * width), bf16 ? 2e-2F : 1e-4F);
  const double product = 2.0 * static_cast<double>(kSequences * heads * 32) * kTime * (kTime + 1) / 2;
  report(name + " forward", time_of(pool.size() == 1, [&] { attention_forward(forward, pool); }), 2 * product,
         "GFLOP/s", peak);
  const AttentionBackward backward{.shape = shape,
                                   .q = forward.q,
                                   .k = forward.k,
                                   .v = forward.v,
                                   .q_stride = 3 * width,
                                   .k_stride = 3 * width,
                                   .v_stride = 3 * width,
                                   .out = out.array(),
                                   .dout = dout.array(),
                                   .out_stride = width,
                                   .dout_stride = width,
                                   .log_sum_exp = lse.data(),
                                   .dq = dqkv.array(),
                                   .dk = dqkv.array() + width,
                                   .dv = dqkv.array() + 2 * width,
                                   .dq_stride = 3 * width,
                                   .dk_stride = 3 * width,
                                   .dv_stride = 3 * width};
  report(name + " backward", time_of(pool.size() == 1, [&] { attention_backward(backward, pool); }), 5 * product,
         "GFLOP/s", peak);
}

void bench_norm(int64_t width, base::ThreadPool& pool) {
  const std::vector<float> x = random_values(kTokens * width, 1), dy = random_values(kTokens * width, 2);
  const std::vector<float> gamma = random_values(width, 3), beta = random_values(width, 4);
  std::vector<float> y(x.size()), dx(x.size()), expected(x.size());
  std::vector<float> mean(static_cast<std::size_t>(kTokens)), rstd(mean), dgamma(gamma), dbeta(beta);
  NormForward forward{NormKind::layer, kTokens,     width,           1e-5F,       x.data(),
                      gamma.data(),    beta.data(), expected.data(), mean.data(), rstd.data()};
  ref::norm_forward(forward);
  forward.y = y.data();
  norm_forward(forward, pool);
  check_close("norm forward", y, expected);
  const double bytes = 4.0 * static_cast<double>(kTokens * width);
  report(fmt::format("{} norm forward", width), time_of(pool.size() == 1, [&] { norm_forward(forward, pool); }),
         2 * bytes, "GB/s", 0);
  const NormBackward backward{NormKind::layer, kTokens,     width,     dy.data(), x.data(),      gamma.data(),
                              mean.data(),     rstd.data(), dy.data(), dx.data(), dgamma.data(), dbeta.data()};
  report(fmt::format("{} norm backward", width), time_of(pool.size() == 1, [&] { norm_backward(backward, pool); }),
         3 * bytes, "GB/s", 0);
}

void bench_adam(base::ThreadPool& pool) {
  constexpr int64_t kSize = 2000000;
  std::vector<float> p = random_values(kSize, 1), m(p.size()), v(p.size());
  const std::vector<float> g = random_values(kSize, 2);
  const AdamStep step{.learning_rate = 1e-4F, .correction1 = 0.1, .correction2 = 0.001};
  const std::vector<AdamParameter> all{{p.data(), g.data(), m.data(), v.data(), kSize}};
  report("adam step, 2M parameters", time_of(pool.size() == 1, [&] { adam_step(step, all, pool); }), 28.0 * kSize,
         "GB/s", 0);
  report("squared norm, 2M parameters", time_of(pool.size() == 1, [&] { static_cast<void>(squared_norm(all, pool)); }),
         4.0 * kSize, "GB/s", 0);
}

void bench_all(int threads, Precision precision, const std::string& wanted) {
  const bool others = precision == Precision::f32 && wanted.empty();
  base::ThreadPool pool(threads);
  const double peak = measure_peak(pool);
  fmt::print("{}; kernels use {}; {} threads; peak {:.1f} GFLOP/s\n", base::machine_description(), instruction_set(),
             threads, peak / 1e9);
  fmt::print("{:<44} {:>12} {:>16} {:>8} {:>8}\n", "", "median", "best", "best", "median");
  for (const int64_t width : {64, 128, 256}) {
    bench_products(width, precision, wanted, peak, pool);
    bench_attention(width, precision, wanted, peak, pool);
    if (!others) continue;
    bench_norm(width, pool);
  }
  if (others) bench_adam(pool);
}

}  // namespace
}  // namespace incontext::kernels

int main(int argc, char** argv) {
  try {
    const std::vector<std::string> arguments(argv + 1, argv + argc);
    const bool bf16 = arguments.size() > 1 && arguments[1] == "bf16";
    incontext::kernels::bench_all(arguments.empty() ? 1 : std::stoi(arguments[0]),
                                  bf16 ? incontext::kernels::Precision::bf16 : incontext::kernels::Precision::f32,
                                  arguments.size() > 2 ? arguments[2] : "");
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
  return 0;
}

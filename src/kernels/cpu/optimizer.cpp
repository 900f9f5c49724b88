#include "kernels/optimizer.h"

#include <algorithm>
#include <vector>

#include "kernels/cpu/dispatch.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/optimizer.cpp"
#include <hwy/foreach_target.h>  // must come first
#include <hwy/highway.h>

#include "kernels/cpu/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {

/// One Adam step on the elements [first, first + size).
void AdamRange(const AdamStep& step, const AdamParameter& parameter, int64_t first, int64_t size) {
  float* p = parameter.parameter + first;
  const float* gradient = parameter.gradient + first;
  float* m = parameter.first_moment + first;
  float* v = parameter.second_moment + first;
  const auto rate = static_cast<float>(step.learning_rate / step.correction1);
  const auto inverse_correction2 = static_cast<float>(1 / step.correction2);
  const auto coupled = static_cast<float>(step.decoupled ? 0 : step.weight_decay);
  const auto keep = static_cast<float>(step.decoupled ? 1 - step.learning_rate * step.weight_decay : 1);
  const auto scale = static_cast<float>(step.gradient_scale);
  const auto epsilon = static_cast<float>(step.epsilon);
  // 1 - beta in double: in fp32 the difference of 1 and 0.999 is wrong in its fifth digit.
  const auto beta1 = static_cast<float>(step.beta1);
  const auto beta2 = static_cast<float>(step.beta2);
  const auto new1 = static_cast<float>(1 - step.beta1);
  const auto new2 = static_cast<float>(1 - step.beta2);
  ForEachVector(size, [&](auto d, int64_t i) HWY_ATTR {
    const auto old = hn::LoadU(d, p + i);
    const auto g = hn::MulAdd(hn::Set(d, coupled), old, hn::Mul(hn::Set(d, scale), hn::LoadU(d, gradient + i)));
    const auto first_moment = hn::MulAdd(hn::Set(d, beta1), hn::LoadU(d, m + i), hn::Mul(hn::Set(d, new1), g));
    const auto second_moment =
        hn::MulAdd(hn::Set(d, beta2), hn::LoadU(d, v + i), hn::Mul(hn::Mul(hn::Set(d, new2), g), g));
    const auto root = hn::Sqrt(hn::Mul(second_moment, hn::Set(d, inverse_correction2)));
    const auto change = hn::Div(hn::Mul(first_moment, hn::Set(d, rate)), hn::Add(root, hn::Set(d, epsilon)));
    hn::StoreU(first_moment, d, m + i);
    hn::StoreU(second_moment, d, v + i);
    hn::StoreU(hn::Sub(hn::Mul(old, hn::Set(d, keep)), change), d, p + i);
  });
}

/// Sum of squares in double: one sum per position in a vector, added in order at the end.
double SquaresOf(const float* x, int64_t size) {
  const hn::ScalableTag<double> d;
  const hn::Rebind<float, hn::ScalableTag<double>> narrow;
  const auto step = static_cast<int64_t>(hn::Lanes(d));
  auto even = hn::Zero(d);
  auto odd = hn::Zero(d);
  int64_t i = 0;
  for (; i + 2 * step <= size; i += 2 * step) {
    const auto a = hn::PromoteTo(d, hn::LoadU(narrow, x + i));
    const auto b = hn::PromoteTo(d, hn::LoadU(narrow, x + i + step));
    even = hn::MulAdd(a, a, even);
    odd = hn::MulAdd(b, b, odd);
  }
  double sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(even, odd)));
  for (; i < size; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return sum;
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace incontext::kernels {

HWY_EXPORT(AdamRange);
HWY_EXPORT(SquaresOf);

namespace {

/// A piece of work: at most kElements elements of one parameter, small parameters being a piece of their own.
struct Piece {
  std::size_t parameter;
  int64_t first, size;
};

std::vector<Piece> cut(std::span<const AdamParameter> parameters) {
  constexpr int64_t kElements = 16384;
  std::vector<Piece> pieces;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    for (int64_t first = 0; first < parameters[i].size; first += kElements) {
      pieces.push_back({i, first, std::min(kElements, parameters[i].size - first)});
    }
  }
  return pieces;
}

}  // namespace

void adam_step(const AdamStep& step, std::span<const AdamParameter> parameters, base::ThreadPool& pool) {
  apply_environment();
  const std::vector<Piece> pieces = cut(parameters);
  const auto range = HWY_DYNAMIC_DISPATCH(AdamRange);
  pool.run(static_cast<int64_t>(pieces.size()), [&](int64_t i, int) {
    const Piece& piece = pieces[static_cast<std::size_t>(i)];
    range(step, parameters[piece.parameter], piece.first, piece.size);
  });
}

double squared_norm(std::span<const AdamParameter> parameters, base::ThreadPool& pool) {
  apply_environment();
  const std::vector<Piece> pieces = cut(parameters);
  std::vector<double> sums(pieces.size());
  const auto squares = HWY_DYNAMIC_DISPATCH(SquaresOf);
  pool.run(static_cast<int64_t>(pieces.size()), [&](int64_t i, int) {
    const Piece& piece = pieces[static_cast<std::size_t>(i)];
    sums[static_cast<std::size_t>(i)] = squares(parameters[piece.parameter].gradient + piece.first, piece.size);
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

}  // namespace incontext::kernels
#endif

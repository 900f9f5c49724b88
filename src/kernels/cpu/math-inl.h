// Elementary functions on vectors. Included once per instruction set (hence the toggled guard).
#if defined(INCONTEXT_KERNELS_CPU_MATH_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef INCONTEXT_KERNELS_CPU_MATH_INL_H
#undef INCONTEXT_KERNELS_CPU_MATH_INL_H
#else
#define INCONTEXT_KERNELS_CPU_MATH_INL_H
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// The whole vectors of this instruction set, and one element, for what is left of a row.
using Full = hn::ScalableTag<float>;
using One = hn::CappedTag<float, 1>;
constexpr int64_t kLanes = static_cast<int64_t>(hn::MaxLanes(Full()));

constexpr float kLog2E = 1.44269504088896341F;
constexpr float kLn2 = 0.69314718055994531F;

/// Calls work(tag, i) for the whole vectors of 0 … size-1 and then element by element, where the same arithmetic on
/// vectors of one gives the same bits.
template <class Work>
HWY_INLINE void ForEachVector(int64_t size, const Work& work) {
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) work(Full(), i);
  for (; i < size; ++i) work(One(), i);
}

/// max(bound, x) and min(bound, x), NaN when x is: a diverging model shows NaN instead of plausible numbers.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V AtLeast([[maybe_unused]] D d, V bound, V x) {
#if HWY_TARGET == HWY_SCALAR
  return hn::IfThenElse(hn::Lt(x, bound), bound, x);
#else
  return hn::Max(bound, x);  // on x86 the second argument when one of them is NaN
#endif
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V AtMost([[maybe_unused]] D d, V bound, V x) {
#if HWY_TARGET == HWY_SCALAR
  return hn::IfThenElse(hn::Gt(x, bound), bound, x);
#else
  return hn::Min(bound, x);
#endif
}

/// 2^x for x in [-125, 127], relative error 2e-7. x = n + r with |r| <= 1/2: adding 1.5 * 2^23 leaves n in the low
/// bits of the sum, from where it moves into the exponent; (2^r - 1) / r is the polynomial of degree 4 through its
/// values at the Chebyshev nodes, so that 2^0 is 1.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Exp2InRange(D d, V x) {
  const hn::RebindToSigned<D> di;
  const V magic = hn::Set(d, 12582912.0F);
  const V shifted = hn::Add(x, magic);
  const V r = hn::Sub(x, hn::Sub(shifted, magic));
  V p = hn::Set(d, 1.33813021e-3F);
  p = hn::MulAdd(p, r, hn::Set(d, 9.66636837e-3F));
  p = hn::MulAdd(p, r, hn::Set(d, 5.55038117e-2F));
  p = hn::MulAdd(p, r, hn::Set(d, 2.40223497e-1F));
  p = hn::MulAdd(p, r, hn::Set(d, 6.93147182e-1F));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0F));
  return hn::BitCast(d, hn::Add(hn::BitCast(di, p), hn::ShiftLeft<23>(hn::BitCast(di, shifted))));
}

/// 2^x for x <= 127; below -125 the smallest value, 2^-125.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Exp2(D d, V x) {
  return Exp2InRange(d, AtLeast(d, hn::Set(d, -125.0F), x));
}

/// 1 / (1 + e^-x).
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Sigmoid(D d, V x) {
  const V bound = hn::Set(d, 100.0F);
  const V y = AtMost(d, bound, AtLeast(d, hn::Neg(bound), hn::Mul(x, hn::Set(d, -kLog2E))));
  const V one = hn::Set(d, 1.0F);
  return hn::Div(one, hn::Add(one, Exp2InRange(d, y)));
}

/// 1 / x to two units in the last place, for x of a magnitude in [2^-100, 2^100]: a division takes three times as long.
/// A value's bits are the same in each lane and in a vector of one, whose own approximation is another.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Reciprocal([[maybe_unused]] D d, V x) {
#if HWY_TARGET == HWY_SCALAR
  return hn::Div(hn::Set(d, 1.0F), x);
#else
  if constexpr (hn::MaxLanes(D()) < kLanes) {
    static_assert(hn::MaxLanes(D()) == 1);
    return hn::Set(d, hn::GetLane(Reciprocal(Full(), hn::Set(Full(), hn::GetLane(x)))));
  }
  const V near = hn::ApproximateReciprocal(x);
  return hn::MulAdd(near, hn::NegMulAdd(x, near, hn::Set(d, 1.0F)), near);
#endif
}

/// gelu(x) = x (1 + tanh(u)) / 2 = x sigmoid(2u) with u = sqrt(2/pi) (x + 0.044715 x³) (Hendrycks & Gimpel 2016).
/// 2u log2(e) = x (kGelu1 + kGelu3 x²).
constexpr float kGelu1 = 2.30220819813F;
constexpr float kGelu3 = 0.10294323958F;

/// At x limited to [-9, 9], beyond which the sigmoid is 0 or 1 to 29 digits.
template <class V>
struct GeluParts {
  V exponential;  // e^(-2u)
  V sigmoid;      // sigmoid(2u) = 1 / (1 + e^(-2u))
};

template <class D, class V = hn::Vec<D>>
HWY_INLINE GeluParts<V> GeluPartsOf(D d, V x, V x_squared) {
  const V inner = hn::MulAdd(hn::Set(d, -kGelu3), x_squared, hn::Set(d, -kGelu1));
  const V exponential = Exp2InRange(d, hn::Mul(x, inner));
  return {exponential, Reciprocal(d, hn::Add(hn::Set(d, 1.0F), exponential))};
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V Gelu(D d, V x) {
  const V above = AtLeast(d, hn::Set(d, -9.0F), x);  // below it gelu is 0
  const V limited = AtMost(d, hn::Set(d, 9.0F), above);
  return hn::Mul(above, GeluPartsOf(d, limited, hn::Mul(limited, limited)).sigmoid);
}

/// gelu(x) and, in `derivative`, gelu'(x) = s + x s (1 - s) (2u)', where 1 - s = s e^(-2u).
template <class D, class V = hn::Vec<D>>
HWY_INLINE V GeluWithDerivative(D d, V x, V& derivative) {
  const V above = AtLeast(d, hn::Set(d, -9.0F), x);
  const V limited = AtMost(d, hn::Set(d, 9.0F), above);
  const V squared = hn::Mul(limited, limited);
  const auto [exponential, s] = GeluPartsOf(d, limited, squared);
  const V slope = hn::MulAdd(hn::Set(d, 3 * kGelu3 * kLn2), squared, hn::Set(d, kGelu1 * kLn2));
  derivative = hn::MulAdd(hn::Mul(hn::Mul(limited, slope), s), hn::Mul(s, exponential), s);
  return hn::Mul(above, s);
}

/// The bits of the nearest bf16 in the upper half of each lane, ties to even; what the lower half holds means nothing.
/// Infinities stay, NaN stays NaN.
template <class D, class V = hn::Vec<D>>
HWY_INLINE hn::Vec<hn::RebindToUnsigned<D>> UpperBf16(D /*d*/, V x) {
  const hn::RebindToUnsigned<D> du;
  const auto bits = hn::BitCast(du, x);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1U));
  const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7FFFU)));
  const auto quiet = hn::Or(bits, hn::Set(du, 0x400000U));
  return hn::IfThenElse(hn::RebindMask(du, hn::IsNaN(x)), quiet, rounded);
}

/// The nearest bf16 value.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V RoundToBf16(D d, V x) {
  const hn::RebindToUnsigned<D> du;
  return hn::BitCast(d, hn::And(UpperBf16(d, x), hn::Set(du, 0xFFFF0000U)));
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif

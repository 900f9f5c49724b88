#include "kernels/activation.h"

#include "kernels/cpu/dispatch.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/activation.cpp"
#include <hwy/foreach_target.h>  // must come first
#include <hwy/highway.h>

#include "kernels/cpu/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {

void SiluRow(const SiluForward& args, int64_t row) {
  const float* gate = args.gate + row * args.stride;
  const float* up = args.up + row * args.stride;
  float* out = args.out + row * args.out_stride;
  ForEachVector(args.width, [&](auto d, int64_t j) HWY_ATTR {
    const auto x = hn::LoadU(d, gate + j);
    hn::StoreU(hn::Mul(hn::Mul(x, Sigmoid(d, x)), hn::LoadU(d, up + j)), d, out + j);
  });
}

void SiluBackwardRow(const SiluBackward& args, int64_t row) {
  const float* gate = args.gate + row * args.stride;
  const float* up = args.up + row * args.stride;
  const float* dout = args.dout + row * args.dout_stride;
  float* dgate = args.dgate + row * args.gradient_stride;
  float* dup = args.dup + row * args.gradient_stride;
  ForEachVector(args.width, [&](auto d, int64_t j) HWY_ATTR {
    const auto one = hn::Set(d, 1.0F);
    const auto x = hn::LoadU(d, gate + j);
    const auto gradient = hn::LoadU(d, dout + j);
    const auto factor = hn::LoadU(d, up + j);
    const auto s = Sigmoid(d, x);
    const auto slope = hn::Mul(s, hn::MulAdd(x, hn::Sub(one, s), one));
    hn::StoreU(hn::Mul(hn::Mul(gradient, factor), slope), d, dgate + j);
    hn::StoreU(hn::Mul(gradient, hn::Mul(x, s)), d, dup + j);
  });
}

void GeluRow(const GeluInPlace& args, int64_t row) {
  float* x = args.x + row * args.width;
  ForEachVector(args.width, [&](auto d, int64_t j) HWY_ATTR { hn::StoreU(Gelu(d, hn::LoadU(d, x + j)), d, x + j); });
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace incontext::kernels {

HWY_EXPORT(GeluRow);
HWY_EXPORT(SiluRow);
HWY_EXPORT(SiluBackwardRow);

void gelu_in_place(const GeluInPlace& args, base::ThreadPool& pool) {
  apply_environment();
  const auto row_kernel = HWY_DYNAMIC_DISPATCH(GeluRow);
  pool.run(args.rows, [&](int64_t row, int) { row_kernel(args, row); });
}

void silu_and_multiply(const SiluForward& args, base::ThreadPool& pool) {
  apply_environment();
  const auto row_kernel = HWY_DYNAMIC_DISPATCH(SiluRow);
  pool.run(args.rows, [&](int64_t row, int) { row_kernel(args, row); });
}

void silu_and_multiply_backward(const SiluBackward& args, base::ThreadPool& pool) {
  apply_environment();
  const auto row_kernel = HWY_DYNAMIC_DISPATCH(SiluBackwardRow);
  pool.run(args.rows, [&](int64_t row, int) { row_kernel(args, row); });
}

}  // namespace incontext::kernels
#endif

#include "kernels/norm.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/scratch.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/norm.cpp"
#include <hwy/foreach_target.h>  // must come first
#include <hwy/highway.h>

#include "kernels/cpu/math-inl.h"
#include "kernels/cpu/storage-inl.h"
#include "kernels/cpu/sums-inl.h"

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {

void NormRows(const NormForward& args, int64_t first, int64_t last) {
  const float scale = 1.0F / static_cast<float>(args.width);
  for (int64_t row = first; row < last; ++row) {
    const float* x = args.x + row * args.width;
    const Array y = args.y + row * args.width;
    float mean = 0;
    if (args.kind == NormKind::layer) {
      mean = scale * SumOf(args.width, [&](auto d, int64_t j) HWY_ATTR { return hn::LoadU(d, x + j); });
      args.mean[row] = mean;
    }
    const float squares = SumOf(args.width, [&](auto d, int64_t j) HWY_ATTR {
      const auto centred = hn::Sub(hn::LoadU(d, x + j), hn::Set(d, mean));
      return hn::Mul(centred, centred);
    });
    const float rstd = 1.0F / std::sqrt(squares * scale + args.epsilon);
    args.rstd[row] = rstd;
    ForEachVector(args.width, [&](auto d, int64_t j) HWY_ATTR {
      const auto normed = hn::Mul(hn::Sub(hn::LoadU(d, x + j), hn::Set(d, mean)), hn::Set(d, rstd));
      const auto shift = args.beta == nullptr ? hn::Zero(d) : hn::LoadU(d, args.beta + j);
      StoreTo(d, hn::MulAdd(normed, hn::LoadU(d, args.gamma + j), shift), y, j);
    });
  }
}

/// dx of some rows; their share of dgamma and dbeta goes to sums [2, width].
void NormBackwardRows(const NormBackward& args, int64_t first, int64_t last, float* sums) {
  const float scale = 1.0F / static_cast<float>(args.width);
  std::fill(sums, sums + 2 * args.width, 0.0F);
  float* dgamma = sums;
  float* dbeta = sums + args.width;
  int64_t next_read = args.residual_reads.count(first);
  for (int64_t row = first; row < last; ++row) {
    const float* x = args.x + row * args.width;
    const ConstArray dy = args.dy + row * args.width;
    const float rstd = args.rstd[row];
    const float mean = args.kind == NormKind::layer ? args.mean[row] : 0;
    const auto normed = [&](auto d, int64_t j) HWY_ATTR {
      return hn::Mul(hn::Sub(hn::LoadU(d, x + j), hn::Set(d, mean)), hn::Set(d, rstd));
    };
    const auto g = [&](auto d, int64_t j)
                       HWY_ATTR { return hn::Mul(LoadFrom(d, dy, j), hn::LoadU(d, args.gamma + j)); };
    const float mean_g = args.kind == NormKind::layer ? scale * SumOf(args.width, g) : 0;
    const float mean_gn = scale * SumOf(args.width, [&](auto d, int64_t j) HWY_ATTR {
                            const auto change = LoadFrom(d, dy, j);
                            const auto normed_x = normed(d, j);
                            hn::StoreU(hn::MulAdd(change, normed_x, hn::LoadU(d, dgamma + j)), d, dgamma + j);
                            hn::StoreU(hn::Add(change, hn::LoadU(d, dbeta + j)), d, dbeta + j);
                            return hn::Mul(g(d, j), normed_x);
                          });
    const bool has_past = args.residual_gradient != nullptr && args.residual_reads.token(next_read) == row;
    const float* past = has_past ? args.residual_gradient + next_read++ * args.width : nullptr;
    ForEachVector(args.width, [&](auto d, int64_t j) HWY_ATTR {
      const auto centred = hn::NegMulAdd(normed(d, j), hn::Set(d, mean_gn), hn::Sub(g(d, j), hn::Set(d, mean_g)));
      const auto before = past == nullptr ? hn::Zero(d) : hn::LoadU(d, past + j);
      hn::StoreU(hn::MulAdd(hn::Set(d, rstd), centred, before), d, args.dx + row * args.width + j);
    });
  }
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace incontext::kernels {

HWY_EXPORT(NormRows);
HWY_EXPORT(NormBackwardRows);
HWY_EXPORT(AddPieces);

void norm_forward(const NormForward& args, base::ThreadPool& pool) {
  constexpr int64_t kRows = 32;
  apply_environment();
  const auto rows = HWY_DYNAMIC_DISPATCH(NormRows);
  pool.run((args.rows + kRows - 1) / kRows,
           [&](int64_t piece, int) { rows(args, piece * kRows, std::min(args.rows, (piece + 1) * kRows)); });
}

void norm_backward(const NormBackward& args, base::ThreadPool& pool) {
  // Rows whose gradients of gamma and beta are summed apart, then added in order: a function of the shape alone.
  const int64_t rows_per_piece = std::max<int64_t>(64, (args.rows + 63) / 64);
  apply_environment();
  const int64_t pieces = (args.rows + rows_per_piece - 1) / rows_per_piece;
  float* sums = scratch(Scratch::partial, pieces * 2 * args.width);
  const auto rows = HWY_DYNAMIC_DISPATCH(NormBackwardRows);
  pool.run(pieces, [&](int64_t piece, int) {
    const int64_t first = piece * rows_per_piece;
    rows(args, first, std::min(args.rows, first + rows_per_piece), sums + piece * 2 * args.width);
  });
  const auto add = HWY_DYNAMIC_DISPATCH(AddPieces);
  add(sums, pieces, 2 * args.width, args.width, args.dgamma);
  if (args.dbeta != nullptr) add(sums + args.width, pieces, 2 * args.width, args.width, args.dbeta);
}

}  // namespace incontext::kernels
#endif

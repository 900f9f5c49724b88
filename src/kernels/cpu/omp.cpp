#include "kernels/omp.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "base/error.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/omp_search.h"
#include "kernels/cpu/scratch.h"
#include "kernels/storage.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/omp.cpp"
#include <hwy/foreach_target.h>  // must come first
#include <hwy/highway.h>

#include "kernels/cpu/math-inl.h"
#include "kernels/cpu/storage-inl.h"
#include "kernels/cpu/sums-inl.h"

#ifndef INCONTEXT_KERNELS_OMP_SHARED
#define INCONTEXT_KERNELS_OMP_SHARED
namespace incontext::kernels {

constexpr int64_t kOmpTile = 24;            // vectors whose codes a thread finds together
constexpr float kSmallestResidual = 1e-6F;  // of the vector: less is rounding
constexpr float kSmallestHeight = 1e-4F;    // of an atom above those before it

/// What all pieces of a call share: the atoms as the search wants them.
struct OmpSearch {
  const ByteSearch* bytes = nullptr;  // or products in fp32
  ByteDictionary dictionary = {};
  const float* panels = nullptr;  // without bytes: [padded atoms / lanes, dim, lanes]
  int64_t padded_atoms = 0;
};

/// What is known of one vector.
struct OmpVector {
  const float* x = nullptr;
  float* residual = nullptr;     // [dim]
  float* basis = nullptr;        // [sparsity, dim]
  float* triangle = nullptr;     // column i from i * sparsity on
  float* projections = nullptr;  // [sparsity]
  uint16_t* chosen = nullptr;
  int64_t used = 0;
  float length = 0, left = 0;  // of the vector and its residual
};

}  // namespace incontext::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {

HWY_INLINE float DotOf(const float* a, const float* b, int64_t size) {
  return SumOf(size, [&](auto d, int64_t i) HWY_ATTR { return hn::Mul(hn::LoadU(d, a + i), hn::LoadU(d, b + i)); });
}

/// y += factor * x.
HWY_INLINE void AddTimes(float factor, const float* x, float* y, int64_t size) {
  ForEachVector(size, [&](auto d, int64_t i) HWY_ATTR {
    hn::StoreU(hn::MulAdd(hn::Set(d, factor), hn::LoadU(d, x + i), hn::LoadU(d, y + i)), d, y + i);
  });
}

/// Panels of kLanes atoms, one lane each.
inline void PackPanel(const Omp& args, int64_t panel, float* out) {
  for (int64_t d = 0; d < args.dim; ++d) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const int64_t atom = panel * kLanes + lane;
      out[(panel * args.dim + d) * kLanes + lane] = atom < args.atom_count ? args.atoms[atom * args.dim + d] : 0;
    }
  }
}

/// kPanels panels with kRows vectors: enough sums to hide the latency of a multiply-add.
constexpr std::size_t kFloatRows = 4, kFloatPanels = 2;

template <std::size_t kPanels, std::size_t kRows>
HWY_INLINE void SearchFloatTile(const OmpSearch& search, int64_t dim, int64_t panel, const float* const* vectors,
                                float* out, hn::Vec<Full>* most) {
  const Full d;
  using V = hn::Vec<Full>;
  const float* atoms = search.panels + panel * dim * kLanes;
  V sums[kPanels][kRows];
#pragma GCC unroll 8
  for (std::size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (std::size_t p = 0; p < kPanels; ++p) sums[p][r] = hn::Zero(d);
  }
  for (int64_t k = 0; k < dim; ++k) {
    V left[kPanels];
#pragma GCC unroll 2
    for (std::size_t p = 0; p < kPanels; ++p)
      left[p] = hn::Load(d, atoms + (static_cast<int64_t>(p) * dim + k) * kLanes);
#pragma GCC unroll 8
    for (std::size_t r = 0; r < kRows; ++r) {
      const V right = hn::Set(d, vectors[r][k]);
#pragma GCC unroll 2
      for (std::size_t p = 0; p < kPanels; ++p) sums[p][r] = hn::MulAdd(left[p], right, sums[p][r]);
    }
  }
#pragma GCC unroll 8
  for (std::size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (std::size_t p = 0; p < kPanels; ++p) {
      const V product = hn::Abs(sums[p][r]);
      const int64_t at = static_cast<int64_t>(r) * search.padded_atoms + (panel + static_cast<int64_t>(p)) * kLanes;
      hn::StoreU(product, d, out + at);
      most[r] = hn::Max(most[r], product);
    }
  }
}

/// out[v, n] = |atom n · vectors[v]|, and the largest of each row.
template <std::size_t kRows>
void SearchFloats(const OmpSearch& search, int64_t dim, const float* const* vectors, float* out, float* highest) {
  const Full d;
  hn::Vec<Full> most[kRows];
  for (auto& each : most) each = hn::Zero(d);
  const int64_t panels = search.padded_atoms / kLanes;
  int64_t panel = 0;
  for (; panel + 2 <= panels; panel += 2) SearchFloatTile<kFloatPanels, kRows>(search, dim, panel, vectors, out, most);
  if (panel < panels) SearchFloatTile<1, kRows>(search, dim, panel, vectors, out, most);
  for (std::size_t r = 0; r < kRows; ++r) highest[r] = hn::GetLane(hn::MaxOfLanes(d, most[r]));
}

/// The residual as bytes of a step of its own; returns the step, and in `error` the distance between both.
inline float ToBytes(const float* residual, int64_t dim, int64_t padded, int8_t* out, float* error) {
  const Full d;
  auto most = hn::Zero(d);
  float largest = 0;
  ForEachVector(dim, [&](auto each, int64_t i) HWY_ATTR {
    if constexpr (hn::MaxLanes(decltype(each)()) == kLanes) {
      most = hn::Max(most, hn::Abs(hn::LoadU(d, residual + i)));
    } else {
      largest = std::max(largest, std::abs(residual[i]));
    }
  });
  largest = std::max(largest, hn::GetLane(hn::MaxOfLanes(d, most)));
  const float step = largest / 127;
  float distance = 0;
  for (int64_t i = 0; i < dim; ++i) {
    const float code = step > 0 ? std::nearbyint(residual[i] / step) : 0;
    out[i] = static_cast<int8_t>(code);
    const float apart = residual[i] - code * step;
    distance += apart * apart;
  }
  std::fill(out + dim, out + padded, int8_t{0});
  *error = std::sqrt(distance);
  return step;
}

/// The atom with the largest |atom·residual| among those whose approximate product reaches `least`, the first of
/// equals.
inline int64_t BestOf(const Omp& args, const float* residual, const float* products, int64_t padded_atoms,
                      float least) {
  const Full d;
  const auto bound = hn::Set(d, least);
  int64_t best = 0;
  float highest = -1;
  for (int64_t n = 0; n < padded_atoms; n += kLanes) {
    const auto reached = hn::Ge(hn::LoadU(d, products + n), bound);
    if (hn::AllFalse(d, reached)) continue;
    for (int64_t atom = n; atom < std::min(n + kLanes, args.atom_count); ++atom) {
      if (products[atom] < least) continue;
      const float product = std::abs(DotOf(args.atoms + atom * args.dim, residual, args.dim));
      if (product > highest) {
        highest = product;
        best = atom;
      }
    }
  }
  return best;
}

/// Takes an atom up into a vector's code; false when that says that the code is done.
inline bool TakeAtom(const Omp& args, OmpVector& v, int64_t atom) {
  const auto index = static_cast<uint16_t>(atom);
  if (std::find(v.chosen, v.chosen + v.used, index) != v.chosen + v.used) return false;
  float* direction = v.basis + v.used * args.dim;
  float* column = v.triangle + v.used * args.sparsity;
  std::copy_n(args.atoms + atom * args.dim, args.dim, direction);
  std::fill_n(column, v.used, 0.0F);
  // Twice: once leaves too much of the earlier directions where the atom is nearly a sum of earlier ones.
  for (int pass = 0; pass < 2; ++pass) {
    for (int64_t j = 0; j < v.used; ++j) {
      const float along = DotOf(v.basis + j * args.dim, direction, args.dim);
      AddTimes(-along, v.basis + j * args.dim, direction, args.dim);
      column[j] += along;
    }
  }
  const float height = std::sqrt(DotOf(direction, direction, args.dim));
  if (!(height >= kSmallestHeight)) return false;
  ForEachVector(args.dim, [&](auto d, int64_t i) HWY_ATTR {
    hn::StoreU(hn::Mul(hn::LoadU(d, direction + i), hn::Set(d, 1 / height)), d, direction + i);
  });
  column[v.used] = height;
  const float projection = DotOf(direction, v.residual, args.dim);
  AddTimes(-projection, direction, v.residual, args.dim);
  v.projections[v.used] = projection;
  v.chosen[v.used++] = index;
  v.left = std::sqrt(DotOf(v.residual, v.residual, args.dim));
  return true;
}

/// Coefficients from the last to the first: each rounded one is made good by those that follow. Scale 0: exact.
inline void SolveCode(const Omp& args, const OmpVector& v, float scale, int16_t* codes, float* coefficients) {
  for (int64_t i = v.used - 1; i >= 0; --i) {
    float value = v.projections[i];
    for (int64_t j = i + 1; j < v.used; ++j) value -= v.triangle[j * args.sparsity + i] * coefficients[j];
    value /= v.triangle[i * args.sparsity + i];
    if (scale > 0) {
      codes[i] = nearest_coefficient(args.rounding, value / scale);
      value = coefficient_of(args.rounding, codes[i]) * scale;
    }
    coefficients[i] = value;
  }
}

inline void FinishCode(const Omp& args, const OmpVector& v, int64_t row) {
  float* coefficients = args.coefficients + row * args.sparsity;
  args.used[row] = static_cast<int32_t>(v.used);
  SolveCode(args, v, 0, nullptr, coefficients);
  if (args.rounding == Coefficients::exact) return;
  int16_t* codes = args.codes + row * args.sparsity;
  std::fill_n(codes, args.sparsity, int16_t{0});
  float largest = 0;
  for (int64_t i = 0; i < v.used; ++i) largest = std::max(largest, std::abs(coefficients[i]));
  float scale = from_f16(to_f16(std::min(largest, kLargestHalf)));
  if (scale > 0) SolveCode(args, v, scale, codes, coefficients);
  float along = 0, across = 0;
  for (int64_t i = 0; i < v.used && scale > 0; ++i) {
    float made = 0;
    for (int64_t j = i; j < v.used; ++j) {
      made += v.triangle[j * args.sparsity + i] * coefficient_of(args.rounding, codes[j]);
    }
    along += made * v.projections[i];
    across += made * made;
  }
  if (across > 0 && along > 0) scale = from_f16(to_f16(std::min(along / across, kLargestHalf)));
  args.scales[row] = to_f16(scale);
  for (int64_t i = 0; i < v.used; ++i) coefficients[i] = coefficient_of(args.rounding, codes[i]) * scale;
}

/// Codes of some vectors, whose searches share what is read of the dictionary.
void OmpRows(const Omp& args, const OmpSearch& search, int64_t first, int64_t count) {
  const int64_t dim = args.dim, s = args.sparsity, padded = search.dictionary.groups * 4;
  float* memory = scratch(Scratch::extra, count * (dim + s * dim + s * s + s));
  float* products = scratch(Scratch::scores, count * search.padded_atoms);
  auto* bytes = reinterpret_cast<int8_t*>(scratch(Scratch::sums, (count * padded + 3) / 4 + 1));
  OmpVector vectors[kOmpTile];
  for (int64_t i = 0; i < count; ++i) {
    OmpVector& v = vectors[i];
    v.x = args.vectors + (first + i) * args.stride;
    v.residual = memory + i * dim;
    v.basis = memory + count * dim + i * s * dim;
    v.triangle = memory + count * (dim + s * dim) + i * s * s;
    v.projections = memory + count * (dim + s * dim + s * s) + i * s;
    v.chosen = args.chosen + (first + i) * s;
    std::copy_n(v.x, dim, v.residual);
    std::fill_n(v.chosen, s, uint16_t{0});
    std::fill_n(args.coefficients + (first + i) * s, s, 0.0F);
    v.length = v.left = std::sqrt(DotOf(v.x, v.x, dim));
  }
  int64_t active[kOmpTile], active_count = count;
  for (int64_t i = 0; i < count; ++i) active[i] = i;
  const float enough = std::max(args.error, kSmallestResidual);
  for (int64_t step = 0; step < s && active_count > 0; ++step) {
    active_count = std::remove_if(active, active + active_count,
                                  [&](int64_t i) { return !(vectors[i].left > enough * vectors[i].length); }) -
                   active;
    float highest[kOmpTile], unit[kOmpTile], doubt[kOmpTile];
    if (search.bytes != nullptr) {
      for (int64_t i = 0; i < active_count; ++i) {
        const OmpVector& v = vectors[active[i]];
        float apart = 0;
        unit[i] = ToBytes(v.residual, dim, padded, bytes + i * padded, &apart) * search.dictionary.step;
        // |a·r - a'·r'| <= |a - a'| |r| + |a'| |r - r'|, and a' is no longer than 1 + |a - a'|.
        doubt[i] = search.dictionary.error * v.left + (1.001F + search.dictionary.error) * apart + 1e-5F * v.left;
      }
      search.bytes->run(search.dictionary, bytes, active_count, products, highest);
    } else {
      const float* rows[kOmpTile];
      for (int64_t i = 0; i < active_count; ++i) {
        rows[i] = vectors[active[i]].residual;
        unit[i] = 1;
        doubt[i] = 1e-5F * vectors[active[i]].left;
      }
      int64_t i = 0;
      for (; i + 4 <= active_count; i += 4) {
        SearchFloats<kFloatRows>(search, dim, rows + i, products + i * search.padded_atoms, highest + i);
      }
      for (; i < active_count; ++i) {
        SearchFloats<1>(search, dim, rows + i, products + i * search.padded_atoms, highest + i);
      }
    }
    int64_t still = 0;
    for (int64_t i = 0; i < active_count; ++i) {
      OmpVector& v = vectors[active[i]];
      const float least = unit[i] > 0 ? highest[i] - 2 * doubt[i] / unit[i] : 0;
      const int64_t best = BestOf(args, v.residual, products + i * search.padded_atoms, search.padded_atoms, least);
      if (TakeAtom(args, v, best)) active[still++] = active[i];
    }
    active_count = still;
  }
  for (int64_t i = 0; i < count; ++i) FinishCode(args, vectors[i], first + i);
}

/// Lanes of the vectors of this instruction set: 8 with AVX2.
int64_t LanesOf() { return kLanes; }

/// The search's own copy of the dictionary; memory of the calling thread.
void PrepareSearch(const Omp& args, OmpSearch& search, base::ThreadPool& pool) {
  if (search.bytes == nullptr) {
    const int64_t panels = (args.atom_count + kLanes - 1) / kLanes;
    search.padded_atoms = panels * kLanes;
    float* out = scratch(Scratch::shared, panels * kLanes * args.dim);
    pool.run(panels, [&](int64_t panel, int) { PackPanel(args, panel, out); });
    search.panels = out;
  }
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace incontext::kernels {

HWY_EXPORT(OmpRows);
HWY_EXPORT(PrepareSearch);
HWY_EXPORT(LanesOf);

namespace {

/// Atoms as bytes of one step for all, so that approximate products compare without a factor each.
void pack_bytes(const Omp& args, OmpSearch& search, base::ThreadPool& pool) {
  ByteDictionary& dictionary = search.dictionary;
  const int64_t lanes = search.bytes->lanes, panels = (args.atom_count + lanes - 1) / lanes;
  const auto most_code = static_cast<float>(search.bytes->offset - 1);
  dictionary.atoms = search.padded_atoms = panels * lanes;
  dictionary.groups = (args.dim + 3) / 4;
  std::vector<float> most(static_cast<std::size_t>(panels), 0);
  pool.run(panels, [&](int64_t panel, int) {
    const int64_t last = std::min((panel + 1) * lanes, args.atom_count) * args.dim;
    float largest = 0;
    for (int64_t i = panel * lanes * args.dim; i < last; ++i) largest = std::max(largest, std::abs(args.atoms[i]));
    most[static_cast<std::size_t>(panel)] = largest;
  });
  dictionary.step = std::max(*std::max_element(most.begin(), most.end()), 1e-30F) / most_code;
  const int64_t panel_bytes = dictionary.groups * lanes * 4;
  auto* out = reinterpret_cast<uint8_t*>(scratch(Scratch::shared, panels * panel_bytes / 4));
  const float per_step = 1 / dictionary.step;
  pool.run(panels, [&](int64_t panel, int) {
    float farthest = 0;
    std::fill_n(out + panel * panel_bytes, panel_bytes, static_cast<uint8_t>(search.bytes->offset));
    for (int64_t lane = 0; lane < lanes && panel * lanes + lane < args.atom_count; ++lane) {
      const float* atom = args.atoms + (panel * lanes + lane) * args.dim;
      uint8_t* to = out + panel * panel_bytes + lane * 4;
      float distance = 0;
      for (int64_t d = 0; d < args.dim; ++d) {
        const float code = std::clamp(std::nearbyint(atom[d] * per_step), -most_code, most_code);
        to[d / 4 * lanes * 4 + d % 4] = static_cast<uint8_t>(static_cast<int32_t>(code) + search.bytes->offset);
        const float apart = atom[d] - code * dictionary.step;
        distance += apart * apart;
      }
      farthest = std::max(farthest, std::sqrt(distance));
    }
    most[static_cast<std::size_t>(panel)] = farthest;
  });
  dictionary.error = *std::max_element(most.begin(), most.end()) * 1.001F;
  dictionary.panels = out;
}

}  // namespace

void omp(const Omp& args, base::ThreadPool& pool) {
  base::check(args.dim >= 1 && args.atom_count >= 1 && args.atom_count <= 65536 && args.sparsity >= 1 &&
                  args.sparsity <= std::min(args.dim, args.atom_count),
              "[omp] expected 1 to 65536 atoms and a sparsity of 1 to {}, got {} and {}",
              std::min(args.dim, args.atom_count), args.atom_count, args.sparsity);
  if (args.count == 0) return;
  apply_environment();
  OmpSearch search;
  search.bytes = usable_byte_search(HWY_DYNAMIC_DISPATCH(LanesOf)() >= 8);
  if (search.bytes != nullptr) pack_bytes(args, search, pool);
  HWY_DYNAMIC_DISPATCH(PrepareSearch)(args, search, pool);
  // Fewer vectors to a piece where there are few, so that every thread has some.
  const int64_t fair = (args.count + pool.size() - 1) / pool.size();
  const int64_t tile = std::min(kOmpTile, (fair + 3) / 4 * 4);
  const auto rows = HWY_DYNAMIC_DISPATCH(OmpRows);
  pool.run((args.count + tile - 1) / tile,
           [&](int64_t piece, int) { rows(args, search, piece * tile, std::min(tile, args.count - piece * tile)); });
}

}  // namespace incontext::kernels
#endif

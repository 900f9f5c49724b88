#include "kernels/bandwidth.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <vector>

#include "base/error.h"
#include "base/statistics.h"
#include "kernels/cpu/dispatch.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/bandwidth.cpp"
#include <hwy/foreach_target.h>  // must come first
#include <hwy/highway.h>

#include "kernels/cpu/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace incontext::kernels::HWY_NAMESPACE {

/// Adds up `size` floats, read as kStreams streams far apart: a processor keeps more lines under way for several
/// streams than for one. `sink` keeps the sum from being left out.
template <std::size_t kStreams>
void ReadStreams(const float* data, int64_t size, float* sink) {
  const Full d;
  constexpr int64_t kStep = std::max<int64_t>(16, kLanes);  // a cache line
  const int64_t stream = size / static_cast<int64_t>(kStreams) / kStep * kStep;
  hn::Vec<Full> sums[kStreams];
  for (auto& sum : sums) sum = hn::Zero(d);
  for (int64_t i = 0; i < stream; i += kStep) {
#pragma GCC unroll 8
    for (std::size_t s = 0; s < kStreams; ++s) {
      const float* from = data + static_cast<int64_t>(s) * stream + i;
#pragma GCC unroll 16
      for (int64_t j = 0; j < kStep; j += kLanes) sums[s] = hn::Add(sums[s], hn::LoadU(d, from + j));
    }
  }
  for (auto& sum : sums) *sink += hn::GetLane(hn::SumOfLanes(d, sum));
}

void ReadAll(int64_t streams, const float* data, int64_t size, float* sink) {
  if (streams == 1) return ReadStreams<1>(data, size, sink);
  if (streams == 4) return ReadStreams<4>(data, size, sink);
  ReadStreams<8>(data, size, sink);
}

}  // namespace incontext::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace incontext::kernels {

HWY_EXPORT(ReadAll);

ReadBandwidth::ReadBandwidth(base::ThreadPool& pool, int64_t bytes)
    : pool_(pool),
      part_(bytes / static_cast<int64_t>(sizeof(float)) / pool.size()),
      data_(static_cast<std::size_t>(part_ * pool.size()), 1.0F),
      sinks_(static_cast<std::size_t>(pool.size()) * 16) {
  base::check(bytes >= int64_t{1} << 20U, "[ReadBandwidth] expected at least 1 MiB, got {} bytes", bytes);
}

void ReadBandwidth::sample() {
  apply_environment();
  constexpr std::array<int64_t, 3> kStreams = {1, 4, 8};
  const auto read = HWY_DYNAMIC_DISPATCH(ReadAll);
  for (std::size_t i = 0; i < kStreams.size(); ++i) {
    const auto start = std::chrono::steady_clock::now();
    pool_.run(pool_.size(), [&](int64_t piece, int) {
      read(kStreams[i], data_.data() + piece * part_, part_, &sinks_[static_cast<std::size_t>(piece) * 16]);
    });
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    rates_[i].push_back(static_cast<double>(data_.size() * sizeof(float)) / seconds);
  }
}

double ReadBandwidth::median() const {
  double best = 0;
  for (const std::vector<double>& rates : rates_) {
    if (!rates.empty()) best = std::max(best, base::median(rates));
  }
  return best;
}

}  // namespace incontext::kernels
#endif

#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/threads.h"

namespace incontext::kernels {

/// What the threads of a pool together read from memory: the roof of kernels that use each byte of a weight or a cache
/// once. Other work on a machine takes its share of this from one moment to the next, so that it is measured in turn
/// with what is compared with it.
class ReadBandwidth {
 public:
  /// Holds a buffer of `bytes`, which should be much larger than the caches; at least 1 MiB.
  ReadBandwidth(base::ThreadPool& pool, int64_t bytes);

  /// Reads the buffer three times, with one, four and eight streams for each thread.
  void sample();
  /// Bytes per second: the median of the samples so far, with the number of streams that gives most. 0 without samples.
  double median() const;

 private:
  base::ThreadPool& pool_;
  int64_t part_;  // floats for each thread
  std::vector<float> data_;
  std::vector<float> sinks_;
  std::array<std::vector<double>, 3> rates_;  // for each number of streams
};

}  // namespace incontext::kernels

#pragma once

#include <cstdint>

#include "base/threads.h"

namespace incontext::kernels {

/// What the threads of this pool together read from memory, in bytes per second: the roof of kernels that use each byte
/// of a weight or a cache once. Reads a buffer of `bytes`, which should be much larger than the caches, several times
/// and returns the best; takes about 10 passes at memory speed.
double measure_read_bandwidth(base::ThreadPool& pool, int64_t bytes);

}  // namespace incontext::kernels

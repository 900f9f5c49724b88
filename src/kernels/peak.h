#pragma once

#include "base/threads.h"

namespace incontext::kernels {

/// What this machine's processors reach together in fp32 multiply-adds that stay in registers, in operations per second
/// (2 per multiply-add): the roof that matrix products are measured against. Best of several short runs, about 0.1 s.
double measure_fma_peak(base::ThreadPool& pool);

}  // namespace incontext::kernels

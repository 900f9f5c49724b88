#pragma once

#include <cstdint>

namespace incontext::kernels {

/// What a thread keeps in a scratch buffer; a kernel holds at most one buffer of each kind at a time.
enum class Scratch { shared, shared_second, handed_on, left, right, partial, scores, gradients, sums, extra, count };

/// At least `floats` floats of this thread's own, aligned to 128 bytes, contents unspecified, valid until the next
/// request of the same kind. The memory is kept for the next call: kernels of a training step run thousands of times
/// with the same few sizes, and fresh pages cost more than the arithmetic.
float* scratch(Scratch kind, int64_t floats);

}  // namespace incontext::kernels

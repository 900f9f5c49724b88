#include "kernels/cpu/scratch.h"

#include <hwy/aligned_allocator.h>

#include <array>
#include <cstddef>

namespace incontext::kernels {
namespace {

struct Buffer {
  hwy::AlignedFreeUniquePtr<float[]> data;
  int64_t size = 0;
};

}  // namespace

float* scratch(Scratch kind, int64_t floats) {
  thread_local std::array<Buffer, static_cast<std::size_t>(Scratch::count)> buffers;
  Buffer& buffer = buffers[static_cast<std::size_t>(kind)];
  if (buffer.size < floats) {
    buffer.data.reset();
    buffer.data = hwy::AllocateAligned<float>(static_cast<std::size_t>(floats));
    buffer.size = floats;
  }
  return buffer.data.get();
}

}  // namespace incontext::kernels

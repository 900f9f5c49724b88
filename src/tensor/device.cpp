#include "tensor/device.h"

#include <ATen/Parallel.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>

#include "base/error.h"
#include "base/machine.h"
#include "tensor/cuda.h"
#include "tensor/torch.h"

namespace incontext::tensor {
namespace {

struct PoolHolder {
  std::mutex mutex;
  std::unique_ptr<base::ThreadPool> pool;
};

/// Made on first use. A process has one set of processors, so it has one pool.
PoolHolder& pool_holder() {
  static PoolHolder holder;
  return holder;
}

int parse_index(const std::string& digits, const std::string& text) {
  int index = -1;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
  base::check(error == std::errc() && end == digits.data() + digits.size() && index >= 0,
              "device: expected cuda:N with N = 0, 1, ..., got '{}'", text);
  return index;
}

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
// Has the heap's next gigabytes lie in pages of 2 MiB as they are first written, where the kernel gives such pages to
// those who ask: a training step goes through more memory than the processor has addresses of small pages at hand.
// Takes addresses only, no memory.
void ask_for_huge_pages() {
  constexpr uintptr_t kHugePage = uintptr_t{2} << 20;
  const auto physical = static_cast<size_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t size = std::min(physical / 2, size_t{16} << 30);
  void* const block = std::malloc(size);
  if (block == nullptr) return;
  const uintptr_t first = (reinterpret_cast<uintptr_t>(block) + kHugePage - 1) / kHugePage * kHugePage;
  const uintptr_t last = (reinterpret_cast<uintptr_t>(block) + size) / kHugePage * kHugePage;
  if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
  std::free(block);
}

// A training step frees and takes the same large buffers again. By default glibc gives each back to the kernel, which
// then clears its pages anew: a tenth of a small model's step. Keeping them costs no memory at the peak.
void keep_freed_memory() {
  static std::once_flag once;
  std::call_once(once, [] {
    ::mallopt(M_MMAP_MAX, 0);
    ::mallopt(M_TRIM_THRESHOLD, -1);  // never
    ::mallopt(M_TOP_PAD, 64 << 20);
    ask_for_huge_pages();
  });
}
#else
void keep_freed_memory() {}
#endif

}  // namespace

torch::Device parse_device(const std::string& text) {
  if (text == "cpu") return torch::kCPU;
  const bool bare = text == "cuda";
  base::check(bare || text.starts_with("cuda:"), "device: expected cpu, cuda or cuda:N, got '{}'", text);
  const int index = bare ? 0 : parse_index(text.substr(5), text);
  base::check(
      torch::cuda::is_available(),
      "device: '{}' asked for, but this libtorch sees no CUDA device (built without CUDA, or no GPU or driver); "
      "expected cpu",
      text);
  const int count = static_cast<int>(torch::cuda::device_count());
  base::check(index < count, "device: expected cuda:0 to cuda:{}, got '{}'", count - 1, text);
  return {torch::kCUDA, static_cast<c10::DeviceIndex>(index)};
}

std::string describe_device(torch::Device device) {
  if (device.is_cpu()) {
    const int threads = std::max(kernel_pool().size(), at::get_num_threads());
    return fmt::format("cpu, {} {}", threads, threads == 1 ? "thread" : "threads");
  }
  return fmt::format("{} of {}", device.str(), torch::cuda::device_count());
}

Runtime start(const RuntimeOptions& options, Engine engine) {
  Runtime runtime;
  runtime.device = parse_device(options.device);
  base::check(options.threads >= 0, "threads: expected 0 (all) or more, got {}", options.threads);
  runtime.threads = options.threads == 0 ? base::available_processors() : static_cast<int>(options.threads);
  set_kernel_threads(engine == Engine::kernels ? runtime.threads : 1);
  at::set_num_threads(engine == Engine::kernels ? 1 : runtime.threads);
  keep_freed_memory();
  use_own_stream(runtime.device);
  if (runtime.device.is_cuda()) base::name_accelerator(cuda_name(runtime.device));
  return runtime;
}

base::ThreadPool& kernel_pool() {
  PoolHolder& holder = pool_holder();
  const std::lock_guard lock(holder.mutex);
  if (!holder.pool) holder.pool = std::make_unique<base::ThreadPool>(base::available_processors());
  return *holder.pool;
}

void set_kernel_threads(int threads) {
  base::check(threads >= 1, "kernel threads: expected 1 or more, got {}", threads);
  PoolHolder& holder = pool_holder();
  const std::lock_guard lock(holder.mutex);
  if (holder.pool && holder.pool->size() == threads) return;
  holder.pool.reset();  // the old threads end before the new ones start
  holder.pool = std::make_unique<base::ThreadPool>(threads);
}

}  // namespace incontext::tensor

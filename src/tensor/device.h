#pragma once

#include <cstdint>
#include <string>

#include "base/threads.h"
#include "tensor/runtime_options.h"
#include "tensor/torch.h"

namespace incontext::tensor {

/// "cpu", "cuda" (the same as "cuda:0") or "cuda:N". Fails when the text is none of these, when this build of libtorch
/// has no CUDA, when there is no GPU, or when N is past the last one.
torch::Device parse_device(const std::string& text);

/// "cpu, 2 threads" or "cuda:0 of 2".
std::string describe_device(torch::Device device);

/// Who does the heavy work on the CPU.
enum class Engine {
  kernels,   // our kernels, on kernel_pool()
  fallback,  // libtorch's operators, on libtorch's OpenMP threads
};

/// What a process computes with, after start().
struct Runtime {
  torch::Device device = torch::kCPU;
  int threads = 1;
};

/// Reads the device and hands the processors to one of the two engines, because two pools of N busy-waiting threads on
/// N processors make each other wait. With Engine::kernels the kernel pool has all threads and libtorch (with OpenBLAS
/// and oneDNN below it) has one: operators left to libtorch then run on the caller's thread. With Engine::fallback it
/// is the other way around. May be called again while no kernel runs, for example to compare numbers of threads.
Runtime start(const RuntimeOptions& options, Engine engine = Engine::kernels);

/// The one pool of this process that kernels run on. Until start() or set_kernel_threads() says otherwise it has as
/// many threads as this process has processors. The reference is good until the next resize.
base::ThreadPool& kernel_pool();

/// Gives kernel_pool() this many threads. No kernel may be running.
void set_kernel_threads(int threads);

}  // namespace incontext::tensor

#include "tensor/cuda.h"

#include <ATen/Context.h>

#include <algorithm>
#include <chrono>

#include "base/error.h"

#ifdef INCONTEXT_CUDA
#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>
#endif

namespace incontext::tensor {

#ifdef INCONTEXT_CUDA

struct CudaGraph::Implementation {
  at::cuda::CUDAGraph graph;
};

bool CudaGraph::available() { return true; }

CudaGraph::CudaGraph() : implementation_(std::make_unique<Implementation>()) {}

void CudaGraph::record(const std::function<void()>& work) {
  c10::cuda::getCurrentCUDAStream().synchronize();
  implementation_->graph.capture_begin();
  try {
    work();
  } catch (...) {
    // Without an end the device stays in its recording state, and every later call fails for that reason.
    try {
      implementation_->graph.capture_end();
    } catch (const std::exception&) {  // the first error says more
    }
    throw;
  }
  implementation_->graph.capture_end();
}

void CudaGraph::replay() { implementation_->graph.replay(); }

void use_own_stream(torch::Device device) {
  if (!device.is_cuda()) return;
  c10::cuda::set_device(device.index());
  c10::cuda::setCurrentCUDAStream(c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.index()));
}

std::string cuda_name(torch::Device device) { return at::cuda::getDeviceProperties(device.index())->name; }

#else

struct CudaGraph::Implementation {};

bool CudaGraph::available() { return false; }

CudaGraph::CudaGraph() = default;

void CudaGraph::record(const std::function<void()>&) { base::fail("this program was built without CUDA's graphs"); }

void CudaGraph::replay() { base::fail("this program was built without CUDA's graphs"); }

void use_own_stream(torch::Device) {}

std::string cuda_name(torch::Device device) { return device.str(); }

#endif

CudaGraph::~CudaGraph() = default;

double measure_product_peak(torch::Device device) {
  constexpr int64_t kSize = 8192;
  constexpr int64_t kProducts = 4;
  const torch::NoGradGuard no_gradients;
  const torch::Tensor a = torch::rand({kSize, kSize}, device);
  const torch::Tensor b = torch::rand({kSize, kSize}, device);
  double best = 0;
  for (int run = 0; run < 4; ++run) {
    torch::cuda::synchronize(device.index());
    const auto start = std::chrono::steady_clock::now();
    for (int64_t i = 0; i < kProducts; ++i) torch::mm(a, b);
    torch::cuda::synchronize(device.index());
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::max(best, 2.0 * kProducts * kSize * kSize * kSize / seconds.count());
  }
  return best;
}

void allow_tf32(bool allow) { at::globalContext().setAllowTF32CuBLAS(allow); }

}  // namespace incontext::tensor

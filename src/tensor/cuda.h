#pragma once

#include <functional>
#include <memory>
#include <string>

#include "tensor/torch.h"

namespace incontext::tensor {

/// Work of a GPU, recorded once and replayed as a whole. A training step of a small model is a thousand kernels of a
/// few microseconds; launching them one by one takes the processor longer than running them takes the GPU.
class CudaGraph {
 public:
  /// Whether this program was built with a libtorch (2 or later) that has CUDA.
  static bool available();

  CudaGraph();
  ~CudaGraph();
  CudaGraph(const CudaGraph&) = delete;
  CudaGraph& operator=(const CudaGraph&) = delete;

  /// Calls `work` once, which records what it launches and runs nothing. Tensors that `work` makes and leaves behind
  /// hold results after each replay, at the same addresses. `work` must have run once before, ordinarily, so that the
  /// libraries below are warm; it must not wait for the GPU. Requires use_own_stream() on this thread.
  void record(const std::function<void()>& work);

  /// Launches what was recorded, and returns without waiting for it.
  void replay();

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

/// Gives this thread a stream of its own on `device` for all its later work: graphs are not recorded on the default
/// stream. Nothing on the CPU, or without CUDA.
void use_own_stream(torch::Device device);

/// "NVIDIA H100 80GB HBM3"; "cuda:0" where the program was built without CUDA's graphs.
std::string cuda_name(torch::Device device);

/// Whether a GPU's fp32 matrix products may round their factors to tf32's 10 bits (libtorch's own default is not to).
void allow_tf32(bool allow);

/// What a GPU reaches in a large fp32 matrix product of its library's, in operations per second (2 per multiply-add),
/// in the precision that allow_tf32() chose last. Best of several runs.
double measure_product_peak(torch::Device device);

}  // namespace incontext::tensor

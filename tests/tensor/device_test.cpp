#include "tensor/device.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <vector>

#include "tensor/torch.h"

namespace incontext::tensor {
namespace {

std::string error_of(const std::string& device) {
  try {
    parse_device(device);
  } catch (const base::Error& error) {
    return error.what();
  }
  return "";
}

TEST(Device, ReadsTheProcessor) {
  EXPECT_EQ(parse_device("cpu"), torch::Device(torch::kCPU));
  set_kernel_threads(2);
  EXPECT_EQ(describe_device(torch::kCPU), "cpu, 2 threads");
}

TEST(Device, RefusesMisspeltNames) {
  for (const char* text : {"", "gpu", "CPU", "cpu:0", "cuda0", " cuda", "cud"}) {
    EXPECT_EQ(error_of(text), std::string("device: expected cpu, cuda or cuda:N, got '") + text + "'");
  }
  for (const char* text : {"cuda:", "cuda:x", "cuda:-1", "cuda:1x", "cuda: 1", "cuda:99999999999", "cuda:+1"}) {
    EXPECT_EQ(error_of(text), std::string("device: expected cuda:N with N = 0, 1, ..., got '") + text + "'");
  }
}

TEST(Device, RefusesGpusThatAreNotThere) {
  const auto count = torch::cuda::device_count();
  if (count == 0) {
    EXPECT_NE(error_of("cuda").find("sees no CUDA device"), std::string::npos);
    EXPECT_NE(error_of("cuda:3").find("'cuda:3' asked for"), std::string::npos);
  } else {
    EXPECT_EQ(parse_device("cuda"), torch::Device(torch::kCUDA, 0));
    EXPECT_EQ(error_of("cuda:" + std::to_string(count)),
              fmt::format("device: expected cuda:0 to cuda:{0}, got 'cuda:{1}'", count - 1, count));
  }
}

TEST(Device, PoolHasAllProcessorsUntilToldOtherwise) {
  // The order of tests does not matter: 0 threads asks for what an untouched pool would have.
  EXPECT_EQ(start({.device = "cpu", .threads = 0}).threads, base::available_processors());
  EXPECT_EQ(kernel_pool().size(), base::available_processors());
}

TEST(Device, OneEngineHasTheThreads) {
  EXPECT_EQ(start({.device = "cpu", .threads = 3}).threads, 3);
  EXPECT_EQ(kernel_pool().size(), 3);
  EXPECT_EQ(at::get_num_threads(), 1);
  start({.device = "cpu", .threads = 2}, Engine::fallback);
  EXPECT_EQ(kernel_pool().size(), 1);
  EXPECT_EQ(at::get_num_threads(), 2);
  EXPECT_THROW(start({.device = "cpu", .threads = -1}), base::Error);
  EXPECT_THROW(set_kernel_threads(0), base::Error);
}

TEST(Device, AResizedPoolWorks) {
  for (const int threads : {1, 4, 2}) {
    set_kernel_threads(threads);
    std::vector<std::atomic<int>> done(100);
    std::atomic<int> highest{0};
    kernel_pool().run(100, [&](int64_t piece, int thread) {
      ++done[static_cast<size_t>(piece)];
      int seen = highest;
      while (seen < thread && !highest.compare_exchange_weak(seen, thread)) {
      }
    });
    EXPECT_TRUE(std::all_of(done.begin(), done.end(), [](const auto& count) { return count == 1; }));
    EXPECT_LT(highest, threads);
  }
}

TEST(Device, OptionsAreRead) {
  RuntimeOptions options;
  base::read_options(base::parse_yaml("device: cuda:1\nthreads: 7\n", "test"), options);
  EXPECT_EQ(options.device, "cuda:1");
  EXPECT_EQ(options.threads, 7);
  EXPECT_THROW(base::read_options(base::parse_yaml("threads: -1\n", "test"), options), base::Error);
}

}  // namespace
}  // namespace incontext::tensor

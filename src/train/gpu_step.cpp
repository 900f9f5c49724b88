#include "train/gpu_step.h"

#include <algorithm>

namespace incontext::train {
namespace {

using torch::Tensor;

bool same_shapes(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const Tensor& left, const Tensor& right) { return left.sizes() == right.sizes(); });
}

}  // namespace

GpuStep::GpuStep(const Objective& objective, models::Decoder& model, const Optimizer& optimizer, torch::Device device)
    : objective_(objective), model_(model), optimizer_(optimizer), device_(device) {}

GpuStep::Result GpuStep::run(const Request& request) {
  const bool drawn = !drawn_.empty() && drawn_first_ == request.first && drawn_stage_ == request.stage &&
                     drawn_[0].size(0) == request.count;
  load(drawn ? drawn_ : objective_.sample(request.first, request.count, request.stage));
  if (request.stage.loops != loops_) {
    loops_ = request.stage.loops;
    graph_.reset();
    warm_ = false;
  }
  const bool graphs = device_.is_cuda() && tensor::CudaGraph::available() && model_.operations().kernels;
  if (graphs && warm_ && !graph_) {
    graph_ = std::make_unique<tensor::CudaGraph>();
    graph_->record([&] { compute(request.parts, request.stage); });
  }
  if (graph_) {
    graph_->replay();
  } else {
    compute(request.parts, request.stage);
    warm_ = true;
  }
  // The GPU is at work; the processor is free until it looks at the results.
  drawn_first_ = request.first + static_cast<uint64_t>(request.count);
  drawn_stage_ = request.next_stage;
  drawn_ = objective_.sample(drawn_first_, request.count, request.next_stage);
  const Tensor results = results_.cpu();
  return {results[0].item<double>(), results[1].item<double>()};
}

void GpuStep::load(const std::vector<Tensor>& samples) {
  if (same_shapes(inputs_, samples)) {
    for (size_t i = 0; i < samples.size(); ++i) inputs_[i].copy_(samples[i]);
    return;
  }
  graph_.reset();
  warm_ = false;
  inputs_.clear();
  for (const Tensor& tensor : samples) inputs_.push_back(tensor.to(device_));
}

void GpuStep::compute(int64_t parts, const Stage& stage) {
  model_.zero_gradients();
  const int64_t rows = inputs_[0].size(0) / parts;
  Tensor total;
  for (int64_t part = 0; part < parts; ++part) {
    std::vector<Tensor> samples;
    for (const Tensor& input : inputs_) samples.push_back(input.narrow(0, part * rows, rows));
    const Tensor loss = objective_.loss(model_, samples, stage) / static_cast<double>(parts);
    loss.backward();
    total = total.defined() ? total + loss.detach() : loss.detach();
  }
  results_ = torch::stack({total, optimizer_.gradient_norm_tensor()});
}

}  // namespace incontext::train

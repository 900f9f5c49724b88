#include "train/gpu_step.h"

#include <algorithm>

namespace incontext::train {
namespace {

using torch::Tensor;

bool same_shapes(const Samples& a, const Samples& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& left, const auto& right) {
    return left.first == right.first && left.second.sizes() == right.second.sizes();
  });
}

int64_t count_of(const Samples& samples) { return samples.begin()->second.size(0); }

}  // namespace

GpuStep::GpuStep(Objective& objective, const Optimizer& optimizer) : objective_(objective), optimizer_(optimizer) {}

GpuStep::Result GpuStep::run(const Request& request) {
  const bool drawn = !drawn_.empty() && drawn_first_ == request.first && drawn_stage_ == request.stage &&
                     count_of(drawn_) == request.count;
  load(drawn ? drawn_ : objective_.sample(request.first, request.count, request.stage));
  if (request.stage.loops != loops_) {
    loops_ = request.stage.loops;
    graph_.reset();
    warm_ = false;
  }
  const bool graphs =
      objective_.device().is_cuda() && tensor::CudaGraph::available() && objective_.operations().kernels;
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
  Result result{.loss = results[0].item<double>(), .gradient_norm = results[1].item<double>()};
  for (size_t i = 0; i < losses_.size(); ++i) {
    result.losses.push_back({losses_[i], results[static_cast<int64_t>(i) + 2].item<double>()});
  }
  return result;
}

void GpuStep::load(const Samples& samples) {
  if (same_shapes(inputs_, samples)) {
    for (const auto& [name, tensor] : samples) inputs_.at(name).copy_(tensor);
    return;
  }
  graph_.reset();
  warm_ = false;
  inputs_.clear();
  for (const auto& [name, tensor] : samples) inputs_[name] = tensor.to(objective_.device());
}

void GpuStep::compute(int64_t parts, const Stage& stage) {
  objective_.zero_gradients();
  const int64_t rows = count_of(inputs_) / parts;
  Tensor total;
  std::vector<Tensor> values;
  losses_.clear();
  for (int64_t part = 0; part < parts; ++part) {
    Samples samples;
    for (const auto& [name, input] : inputs_) samples[name] = input.narrow(0, part * rows, rows);
    const Losses losses = objective_.losses(samples, stage);
    const Tensor loss = total_loss(losses) / static_cast<double>(parts);
    loss.backward();
    total = total.defined() ? total + loss.detach() : loss.detach();
    for (size_t i = 0; i < losses.size(); ++i) {
      const Tensor value = losses[i].value.detach() / static_cast<double>(parts);
      if (part == 0) {
        losses_.push_back(losses[i].name);
        values.push_back(value);
      } else {
        values.at(i) = values.at(i) + value;
      }
    }
  }
  values.insert(values.begin(), {total, optimizer_.gradient_norm_tensor()});
  results_ = torch::stack(values);
}

}  // namespace incontext::train

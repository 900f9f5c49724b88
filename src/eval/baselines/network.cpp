#include <cmath>

#include "base/random.h"
#include "eval/baselines/methods.h"

namespace incontext::eval {
namespace {

/// One network per prompt, all of them trained together. The parameters of a network lie side by side in one row.
class Networks {
 public:
  Networks(int64_t batch, int64_t dims, const NetworkOptions& options)
      : dims_(dims), hidden_(options.hidden), learning_rate_(options.learning_rate) {
    const int64_t count = (dims + 2) * hidden_ + 1;
    base::RandomStream stream(options.seed, "network baseline", 0);
    torch::Tensor start = torch::empty({1, count});
    auto* const values = start.data_ptr<float>();
    for (int64_t i = 0; i < count; ++i) {
      const double bound = 1 / std::sqrt(static_cast<double>(i < (dims + 1) * hidden_ ? dims : hidden_));
      values[i] = static_cast<float>(stream.uniform(-bound, bound));
    }
    parameters_ = start.repeat({batch, 1});
    gradient_ = torch::empty_like(parameters_);
    first_moment_ = torch::zeros_like(parameters_);
    second_moment_ = torch::zeros_like(parameters_);
  }

  torch::Tensor predict(const torch::Tensor& xs) const {  // [batch, n, dims] -> [batch, n]
    return torch::baddbmm(part(parameters_, kOuterBias), hidden_units(xs), part(parameters_, kOuter)).squeeze(2);
  }

  /// One step of Adam (Kingma & Ba, 2015, algorithm 1) on the mean squared error of each network.
  void step(const torch::Tensor& xs, const torch::Tensor& ys) {
    const torch::Tensor units = hidden_units(xs);
    const torch::Tensor outer = part(parameters_, kOuter);
    const torch::Tensor error = (torch::baddbmm(part(parameters_, kOuterBias), units, outer) - ys.unsqueeze(2)) *
                                (2.0 / static_cast<double>(ys.size(1)));
    const torch::Tensor units_gradient = error.bmm(outer.transpose(1, 2)) * (units > 0);
    part(gradient_, kInner).copy_(xs.transpose(1, 2).bmm(units_gradient));
    part(gradient_, kInnerBias).copy_(units_gradient.sum(1, true));
    part(gradient_, kOuter).copy_(units.transpose(1, 2).bmm(error));
    part(gradient_, kOuterBias).copy_(error.sum(1, true));

    ++steps_;
    first_moment_.mul_(kBeta1).add_(gradient_, 1 - kBeta1);
    second_moment_.mul_(kBeta2).addcmul_(gradient_, gradient_, 1 - kBeta2);
    const double correction1 = 1 - std::pow(kBeta1, steps_), correction2 = 1 - std::pow(kBeta2, steps_);
    const torch::Tensor scale = (second_moment_ / correction2).sqrt_().add_(1e-8);
    parameters_.addcdiv_(first_moment_, scale, -learning_rate_ / correction1);
  }

 private:
  enum Part { kInner, kInnerBias, kOuter, kOuterBias };
  static constexpr double kBeta1 = 0.9, kBeta2 = 0.999;

  /// A view: inner weights [batch, dims, hidden], their bias [batch, 1, hidden], outer weights [batch, hidden, 1],
  /// their bias [batch, 1, 1].
  torch::Tensor part(const torch::Tensor& rows, Part which) const {
    const auto view = [&](int64_t first, int64_t height, int64_t width) {
      return rows.narrow(1, first, height * width).unflatten(1, {height, width});
    };
    switch (which) {
      case kInner:
        return view(0, dims_, hidden_);
      case kInnerBias:
        return view(dims_ * hidden_, 1, hidden_);
      case kOuter:
        return view((dims_ + 1) * hidden_, hidden_, 1);
      case kOuterBias:
        return view((dims_ + 2) * hidden_, 1, 1);
    }
    return {};
  }

  torch::Tensor hidden_units(const torch::Tensor& xs) const {
    return torch::baddbmm(part(parameters_, kInnerBias), xs, part(parameters_, kInner)).relu_();
  }

  int64_t dims_;
  int64_t hidden_;
  double learning_rate_;
  int steps_ = 0;
  torch::Tensor parameters_, gradient_, first_moment_, second_moment_;  // [batch, (dims + 2) hidden + 1]
};

class NeuralNetwork final : public Predictor {
 public:
  explicit NeuralNetwork(const NetworkOptions& options) : options_(options) {}
  std::string label() const override { return "neural_network"; }
  bool slow() const override { return true; }

  torch::Tensor predict(const tasks::Prompts& prompts, std::span<const int64_t> positions,
                        base::ThreadPool&) const override {
    const torch::NoGradGuard no_gradients;  // they are computed by hand
    const int64_t batch = prompts.xs.size(0);
    torch::Tensor answers = torch::zeros({batch, static_cast<int64_t>(positions.size())}, torch::kFloat64);
    for (size_t k = 0; k < positions.size(); ++k) {
      const int64_t n = positions[k];
      if (n == 0) continue;
      Networks networks(batch, prompts.xs.size(2), options_);
      const torch::Tensor xs = prompts.xs.narrow(1, 0, n).contiguous(), ys = prompts.ys.narrow(1, 0, n).contiguous();
      for (int64_t step = 0; step < options_.steps; ++step) networks.step(xs, ys);
      answers.select(1, static_cast<int64_t>(k)).copy_(networks.predict(prompts.query_xs.narrow(1, n, 1)).squeeze(1));
    }
    return answers;
  }

 private:
  NetworkOptions options_;
};

}  // namespace

std::unique_ptr<Predictor> make_neural_network(const BaselineOptions& options) {
  return std::make_unique<NeuralNetwork>(options.network);
}

}  // namespace incontext::eval

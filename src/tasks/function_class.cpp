#include "tasks/function_class.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace incontext::tasks {
namespace {

double sum(std::span<const double> values) { return std::accumulate(values.begin(), values.end(), 0.0); }

/// Draws one normal per coordinate and zeroes those that are not active, so that the first weights of a function
/// do not depend on the curriculum.
void draw_weights(base::RandomStream& stream, int64_t active_dims, std::span<float> weights) {
  stream.fill_normal(weights);
  std::fill(weights.begin() + active_dims, weights.end(), 0.0F);
}

/// f(x) = w·x, w ~ N(0, I). Parameters: w [dims].
class Linear : public FunctionClass {
 public:
  explicit Linear(const TaskOptions& options) : dims_(options.dims) {}

  int64_t parameter_count() const override { return dims_; }

  void draw(base::RandomStream& stream, int64_t active_dims, std::span<float> parameters) const override {
    draw_weights(stream, active_dims, parameters);
  }

  void evaluate(std::span<const float> parameters, std::span<const float> xs, std::span<float> ys) const override {
    const float* x = xs.data();
    for (float& y : ys) {
      double total = 0;
      for (const float w : parameters) total += static_cast<double>(w) * *x++;
      y = static_cast<float>(total);
    }
  }

  double second_moment(std::span<const double> variances) const override { return sum(variances); }

 protected:
  int64_t dims_;
};

/// As Linear, but only min(nonzeros, active_dims) weights are not zero, at places drawn without replacement among
/// the active coordinates. (The reference draws them among all dims and then truncates the inputs, so that early in
/// its curriculum many functions are identically zero.)
class SparseLinear final : public Linear {
 public:
  explicit SparseLinear(const TaskOptions& options) : Linear(options), nonzeros_(options.nonzeros) {}

  void draw(base::RandomStream& stream, int64_t active_dims, std::span<float> parameters) const override {
    std::vector<float> values(static_cast<size_t>(std::min(nonzeros_, active_dims)));
    stream.fill_normal(values);
    std::vector<int64_t> places(static_cast<size_t>(active_dims));
    stream.permutation(places);
    std::fill(parameters.begin(), parameters.end(), 0.0F);
    for (size_t k = 0; k < values.size(); ++k) parameters[static_cast<size_t>(places[k])] = values[k];
  }

  double second_moment(std::span<const double> variances) const override {
    const auto active = static_cast<double>(variances.size());
    return std::min(static_cast<double>(nonzeros_), active) * sum(variances) / active;
  }

 private:
  int64_t nonzeros_;
};

/// f(x) = sum_i w_i x_i² / sqrt(3), w ~ N(0, I); the root makes its variance that of the linear class.
class Quadratic final : public Linear {
 public:
  using Linear::Linear;

  void evaluate(std::span<const float> parameters, std::span<const float> xs, std::span<float> ys) const override {
    const float* x = xs.data();
    for (float& y : ys) {
      double total = 0;
      for (const float w : parameters) {
        const double value = *x++;
        total += w * value * value;
      }
      y = static_cast<float>(total / std::sqrt(3.0));
    }
  }

  double second_moment(std::span<const double> variances) const override {
    double total = 0;
    for (const double variance : variances) total += variance * variance;  // E x^4 = 3 variance²
    return total;
  }
};

/// A full binary tree: an inner node tests x_j > 0 for a uniformly drawn active j (yes goes right), a leaf holds
/// N(0,1). Parameters: the coordinates of the 2^depth - 1 inner nodes in heap order (children of k are 2k+1 and
/// 2k+2), then the 2^depth leaves from left to right.
class DecisionTree final : public FunctionClass {
 public:
  explicit DecisionTree(const TaskOptions& options)
      : dims_(options.dims), depth_(options.depth), leaves_(int64_t{1} << options.depth) {}

  int64_t parameter_count() const override { return 2 * leaves_ - 1; }

  void draw(base::RandomStream& stream, int64_t active_dims, std::span<float> parameters) const override {
    stream.fill_normal(parameters.subspan(static_cast<size_t>(leaves_ - 1)));
    for (int64_t node = 0; node < leaves_ - 1; ++node) {
      parameters[static_cast<size_t>(node)] = static_cast<float>(stream.below(static_cast<uint64_t>(active_dims)));
    }
  }

  void evaluate(std::span<const float> parameters, std::span<const float> xs, std::span<float> ys) const override {
    const float* x = xs.data();
    for (float& y : ys) {
      size_t node = 0;
      for (int64_t level = 0; level < depth_; ++level) {
        node = 2 * node + (x[static_cast<size_t>(parameters[node])] > 0 ? 2 : 1);
      }
      y = parameters[node];  // the leaves follow the inner nodes in heap order too
      x += dims_;
    }
  }

  double second_moment(std::span<const double>) const override { return 1; }

 private:
  int64_t dims_;
  int64_t depth_;
  int64_t leaves_;
};

/// f(x) = sqrt(2/hidden) sum_k a_k relu(w_k·x), all entries N(0,1). Parameters: a [hidden], then the w_k side by
/// side, W [dims, hidden], of which rows from active_dims on are zero.
class ReluNetwork final : public FunctionClass {
 public:
  explicit ReluNetwork(const TaskOptions& options) : dims_(options.dims), hidden_(options.hidden) {}

  int64_t parameter_count() const override { return (dims_ + 1) * hidden_; }

  void draw(base::RandomStream& stream, int64_t active_dims, std::span<float> parameters) const override {
    draw_weights(stream, (active_dims + 1) * hidden_, parameters);
  }

  void evaluate(std::span<const float> parameters, std::span<const float> xs, std::span<float> ys) const override {
    const double scale = std::sqrt(2.0 / static_cast<double>(hidden_));
    std::vector<float> units(static_cast<size_t>(hidden_));
    const float* x = xs.data();
    for (float& y : ys) {
      std::fill(units.begin(), units.end(), 0.0F);
      for (int64_t j = 0; j < dims_; ++j, ++x) {
        if (*x == 0) continue;  // an inactive coordinate
        const float* row = parameters.data() + (j + 1) * hidden_;
        for (size_t k = 0; k < units.size(); ++k) units[k] += *x * row[k];
      }
      double total = 0;
      for (size_t k = 0; k < units.size(); ++k) total += static_cast<double>(parameters[k]) * std::max(units[k], 0.0F);
      y = static_cast<float>(scale * total);
    }
  }

  /// Half of every w_k·x is cut off: hidden * (2/hidden) * E(w·x)²/2.
  double second_moment(std::span<const double> variances) const override { return sum(variances); }

 private:
  int64_t dims_;
  int64_t hidden_;
};

}  // namespace

std::unique_ptr<FunctionClass> make_function_class(const TaskOptions& options) {
  switch (options.name) {
    case TaskName::linear_regression:
    case TaskName::noisy_linear_regression:  // Task adds the noise
      return std::make_unique<Linear>(options);
    case TaskName::sparse_linear_regression:
      return std::make_unique<SparseLinear>(options);
    case TaskName::quadratic_regression:
      return std::make_unique<Quadratic>(options);
    case TaskName::decision_tree:
      return std::make_unique<DecisionTree>(options);
    case TaskName::relu_network:
      return std::make_unique<ReluNetwork>(options);
    case TaskName::text:
      break;
  }
  base::fail("[task] expected a function class, got {}", base::name_of(options.name));
}

}  // namespace incontext::tasks

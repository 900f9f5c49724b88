#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/random.h"
#include "tasks/task_options.h"

namespace incontext::tasks {

/// A class of functions from R^dims to R with a distribution over its members. A member is a flat array of
/// parameters, so that callers can keep, print and probe the truth behind a prompt.
class FunctionClass {
 public:
  virtual ~FunctionClass() = default;

  /// Length of the array of parameters; its layout is told in function_class.cpp, class by class.
  virtual int64_t parameter_count() const = 0;

  /// Draws a member that depends on the first `active_dims` coordinates only.
  virtual void draw(base::RandomStream& stream, int64_t active_dims, std::span<float> parameters) const = 0;

  /// ys[i] = f(xs[i]) for xs [points, dims] and ys [points].
  virtual void evaluate(std::span<const float> parameters, std::span<const float> xs, std::span<float> ys) const = 0;

  /// E f(x)² over members and over centred Gaussian inputs whose active coordinates have these variances.
  virtual double second_moment(std::span<const double> variances) const = 0;
};

/// The class that `options.name` is; text, which is none, is an Error.
std::unique_ptr<FunctionClass> make_function_class(const TaskOptions& options);

}  // namespace incontext::tasks

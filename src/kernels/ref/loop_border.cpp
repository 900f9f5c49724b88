#include "kernels/loop_border.h"

#include <vector>

namespace incontext::kernels::ref {

void loop_border_forward(const LoopBorderForward& args) {
  for (int64_t row = 0; row < args.rows; ++row) {
    double sum = static_cast<double>(args.bias);
    for (int64_t j = 0; j < args.width; ++j) {
      const int64_t at = row * args.width + j;
      args.hidden[at] = args.iterate[at] + args.input[at];
      sum += static_cast<double>(args.iterate[at]) * static_cast<double>(args.weight[j]);
    }
    if (row % 2 == 0) args.prediction[row / 2] = static_cast<float>(sum);
  }
}

void loop_border_backward(const LoopBorderBackward& args) {
  std::vector<double> dweight(static_cast<std::size_t>(args.width));
  double dbias = 0;
  for (int64_t row = 0; row < args.rows; ++row) {
    const double dprediction = row % 2 == 0 ? static_cast<double>(args.dprediction[row / 2]) : 0;
    dbias += dprediction;
    for (int64_t j = 0; j < args.width; ++j) {
      const int64_t at = row * args.width + j;
      const auto dhidden = static_cast<double>(args.dhidden[at]);
      args.diterate[at] = static_cast<float>(dhidden + dprediction * static_cast<double>(args.weight[j]));
      if (args.dinput != nullptr) {
        args.dinput[at] = static_cast<float>(dhidden + static_cast<double>(args.dinput_later[at]));
      }
      dweight[static_cast<std::size_t>(j)] += dprediction * static_cast<double>(args.iterate[at]);
    }
  }
  for (int64_t j = 0; j < args.width; ++j) {
    args.dweight[j] = static_cast<float>(dweight[static_cast<std::size_t>(j)]);
  }
  *args.dbias = static_cast<float>(dbias);
}

}  // namespace incontext::kernels::ref

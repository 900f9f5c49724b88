#pragma once

#include <cstdint>

#include "base/threads.h"

namespace incontext::kernels {

/// What a looped model does between two loops (Yang et al. 2024, section 4): its prediction is read at the x tokens,
/// every other row from the first, and the input is injected again. All tensors contiguous fp32, rows even.
///   hidden = iterate + input;   prediction[i] = weight · iterate[2 i] + bias
struct LoopBorderForward {
  int64_t rows = 0, width = 0;
  const float* iterate = nullptr;  // [rows, width], what a loop left
  const float* input = nullptr;    // [rows, width]
  const float* weight = nullptr;   // [width], of the read-out
  float bias = 0;
  float* hidden = nullptr;      // [rows, width], what the next loop starts from
  float* prediction = nullptr;  // [rows / 2]
};

/// Gradients of the above. The gradient that reaches the input past this border, from later loops, is added to its own:
/// dinput = dhidden + dinput_later. dweight and dbias are overwritten.
struct LoopBorderBackward {
  int64_t rows = 0, width = 0;
  const float* dhidden = nullptr;       // [rows, width]
  const float* dinput_later = nullptr;  // [rows, width]
  const float* dprediction = nullptr;   // [rows / 2]
  const float* iterate = nullptr;       // [rows, width]
  const float* weight = nullptr;        // [width]
  float* diterate = nullptr;            // [rows, width]
  float* dinput = nullptr;              // [rows, width]; null: not wanted, and dinput_later not read
  float* dweight = nullptr;             // [width]
  float* dbias = nullptr;               // [1]
};

/// Results do not depend on the number of threads.
void loop_border_forward(const LoopBorderForward& args, base::ThreadPool& pool);
void loop_border_backward(const LoopBorderBackward& args, base::ThreadPool& pool);

namespace ref {
void loop_border_forward(const LoopBorderForward& args);
void loop_border_backward(const LoopBorderBackward& args);
}  // namespace ref

}  // namespace incontext::kernels

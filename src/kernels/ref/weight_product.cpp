#include "kernels/weight_product.h"

namespace incontext::kernels::ref {

void weight_product(const WeightProduct& p) {
  for (const WeightMatrix& w : p.matrices) {
    for (int64_t i = 0; i < p.rows; ++i) {
      for (int64_t j = 0; j < w.columns; ++j) {
        double sum = 0;
        for (int64_t k = 0; k < p.depth; ++k) {
          float x = p.x[i * p.x_stride + k];
          if (p.precision == Precision::bf16) x = from_bf16(to_bf16(x));
          sum += static_cast<double>(x) * static_cast<double>(read_element(w.storage, w.weight, j * w.stride + k));
        }
        if (w.bias != nullptr) sum += static_cast<double>(w.bias[j]);
        if (w.residual != nullptr) sum += static_cast<double>(w.residual[i * w.y_stride + j]);
        w.y[i * w.y_stride + j] = static_cast<float>(sum);
      }
    }
  }
}

}  // namespace incontext::kernels::ref

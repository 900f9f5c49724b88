#include "ops/embedding.h"

#include "base/error.h"

namespace incontext::ops {

torch::Tensor embedding(const torch::Tensor& table, const torch::Tensor& ids) {
  base::check(ids.scalar_type() == torch::kInt64, "[embedding] expected int64 ids, got {}",
              torch::toString(ids.scalar_type()));
  // On a GPU looking at the ids would make the processor wait for it, and libtorch checks them there.
  if (ids.device().is_cpu() && ids.numel() > 0) {
    const auto [least, most] = torch::aminmax(ids);
    base::check(least.item<int64_t>() >= 0 && most.item<int64_t>() < table.size(0),
                "expected token ids from 0 to {}, got {} to {}", table.size(0) - 1, least.item<int64_t>(),
                most.item<int64_t>());
  }
  if (table.requires_grad() || table.scalar_type() == torch::kFloat32) return torch::embedding(table, ids);
  std::vector<int64_t> shape = ids.sizes().vec();
  shape.push_back(table.size(1));
  return table.index_select(0, ids.reshape({-1})).to(torch::kFloat32).view(shape);
}

}  // namespace incontext::ops

#pragma once

#include "tensor/torch.h"

namespace incontext::ops {

/// Rows `ids` (int64, any shape) of a table [rows, width] as fp32 [..., width]. A trained table is an fp32 leaf and
/// gets its gradient; a frozen one of any storage is read where it lies. An id out of range is an Error.
torch::Tensor embedding(const torch::Tensor& table, const torch::Tensor& ids);

}  // namespace incontext::ops

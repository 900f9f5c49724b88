#pragma once

namespace incontext::kernels {

/// How the factors of a product are rounded before they are multiplied. Sums are always in fp32.
enum class Precision { f32, bf16 };

}  // namespace incontext::kernels

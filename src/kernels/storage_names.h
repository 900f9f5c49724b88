#pragma once

#include "base/enum_names.h"
#include "kernels/storage.h"

// Beside storage.h, which every kernel includes, and which names need not slow down.

namespace incontext::kernels {

constexpr auto names_of(Storage) {
  using enum Storage;
  return std::to_array<base::EnumName<Storage>>({{f32, "f32"}, {f16, "f16"}, {bf16, "bf16"}});
}

}  // namespace incontext::kernels

#pragma once

namespace incontext::kernels {

/// On its first call limits dispatch to the set named by the variable INCONTEXT_ISA, if any. Every kernel calls it
/// before it dispatches.
void apply_environment();

}  // namespace incontext::kernels

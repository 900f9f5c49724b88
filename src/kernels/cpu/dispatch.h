#pragma once

namespace incontext::kernels {

/// On its first call limits dispatch to the set named by the variable INCONTEXT_ISA, if any. Every kernel calls it
/// before it dispatches.
void apply_environment();

/// Whether dispatch may choose AVX-512, whose extensions are then allowed as well. Remembered: asking the processor
/// costs microseconds on a virtual machine, where each CPUID is intercepted.
bool avx512_allowed();

}  // namespace incontext::kernels

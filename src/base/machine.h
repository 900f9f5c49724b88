#pragma once

#include <string>

namespace incontext::base {

/// The program's version, "0.1.0".
std::string version();

/// "AMD EPYC, 2 processors, avx2": processor name, how many this process may use, best instruction set.
std::string machine_description();

/// "avx512_bf16", "avx512", "avx2" or "baseline": the best of these that the processor has.
std::string best_instruction_set();

/// Adds an accelerator that this process computes on, "NVIDIA H100 80GB HBM3", to what machine_description() says.
void name_accelerator(const std::string& name);

/// Highest resident set size of this process so far, in bytes.
double peak_memory_bytes();

}  // namespace incontext::base

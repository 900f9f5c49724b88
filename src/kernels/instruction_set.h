#pragma once

#include <string>
#include <vector>

namespace incontext::kernels {

/// The instruction set that kernels use on this machine: "avx3_dl", "avx3", "avx2", "sse4", "ssse3", "scalar" …;
/// "+amx" is appended where bf16 products run on AMX tiles, "+bf16" where they run on AVX-512 BF16.
std::string instruction_set();

/// Every instruction set compiled in that this machine can run, best first.
std::vector<std::string> available_instruction_sets();

/// Limits dispatch to the named set (tests and benchmarks; also the variable INCONTEXT_ISA at start).
/// An empty name restores the choice by machine. Throws base::Error for a set this machine cannot run.
void force_instruction_set(const std::string& name);

}  // namespace incontext::kernels

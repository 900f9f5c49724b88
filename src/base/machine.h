#pragma once

#include <string>

namespace incontext::base {

/// The program's version, "0.1.0".
std::string version();

/// "AMD EPYC, 2 processors, avx2": processor name, how many this process may use, best instruction set.
std::string machine_description();

/// Highest resident set size of this process so far, in bytes.
double peak_memory_bytes();

}  // namespace incontext::base

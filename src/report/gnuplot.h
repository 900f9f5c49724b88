#pragma once

#include <string>

namespace incontext::report {

/// Runs gnuplot on a script and returns what it writes to standard output. That gnuplot is missing or finds fault
/// with the script is an Error of one line.
std::string run_gnuplot(const std::string& script);

}  // namespace incontext::report
